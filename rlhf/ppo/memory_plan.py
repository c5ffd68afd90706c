"""What the models of PPO will take in memory, in either layout, before anything is loaded.

Parameters are counted on models without storage (torch's meta device), wrapped by the code that wraps the real ones.
The plan is of one process that shards nothing; under FSDP or ZeRO-3 weights, gradients and moments are divided.
"""

import copy
from dataclasses import dataclass, fields
from typing import Any

import torch
from rich.table import Table
from torch import nn

from chat_model.adapters import LoraAdapters
from chat_model.loading import load_config
from chat_model.model_size import FLOAT32_BYTES, chunk_size, four_bit_bytes, key_value_bytes, logits_bytes
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.models.interface import TRAINED_PARTS
from rlhf.ppo.models.loading import find_adapters, new_adapter


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of each part of one process, nothing sharded; activations come on top."""

    layout: str
    trained_weights: int  # of whole models, fp32
    adapters: int  # with the scalar heads, fp32
    frozen_weights: int
    gradients: int
    optimizer: int
    logits: int
    kv_cache: int

    @property
    def peak(self) -> int:
        """What is held at once: gradients and logits belong to the update, the KV cache to sampling."""
        always = self.trained_weights + self.adapters + self.frozen_weights + self.optimizer
        return always + max(self.gradients + self.logits, self.kv_cache)


def plan_memory(config: PPOConfig, with_reward_models: bool = True) -> tuple[MemoryPlan, MemoryPlan]:
    """Return the plan of the configured layout and that of the other one.

    In the plan of the layout that is not configured, all models have the policy's architecture and new adapters.

    Raises:
        InputError: a model or adapter that `config` names cannot be read.
    """
    full, shared = _plan_full(config, with_reward_models), _plan_shared_base(config, with_reward_models)
    return (full, shared) if config.layout == "full" else (shared, full)


def plan_table(chosen: MemoryPlan, other: MemoryPlan) -> Table:
    """Return both plans side by side, in GiB, or in MiB where all is small."""
    unit, size = ("GiB", 2**30) if max(chosen.peak, other.peak) >= 2**30 else ("MiB", 2**20)
    table = Table("part", f"{chosen.layout} (this run)", other.layout, title=f"memory plan of one process, {unit}")
    for name in (*(field.name for field in fields(MemoryPlan)[1:]), "peak"):
        table.add_row(name.replace("_", " "), *(f"{getattr(plan, name) / size:.2f}" for plan in (chosen, other)))
    table.caption = "activations of a micro-batch come on top"
    return table


def _plan_full(config: PPOConfig, with_reward_models: bool) -> MemoryPlan:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    policy = load_config(config.model_name_or_path)
    names = (config.helpfulness_reward_model, config.safety_reward_model)
    own = config.layout == "full"
    needed = names if with_reward_models else names[:1]  # the critic starts from the helpfulness reward model
    rewards = [_count(AutoModelForSequenceClassification, load_config(name) if own else policy) for name in needed]
    reference = load_config(config.reference_model) if config.reference_model else policy
    frozen = _count(AutoModelForCausalLM, reference) + (sum(rewards) if with_reward_models else 0)
    trained = FLOAT32_BYTES * (_count(AutoModelForCausalLM, policy) + rewards[0])
    return MemoryPlan(
        "full",
        trained_weights=trained,
        adapters=0,
        frozen_weights=frozen * _bytes_of(config.frozen_dtype),
        gradients=trained,
        optimizer=2 * trained,
        logits=_logits(config, policy),
        kv_cache=_kv_cache(config, policy, FLOAT32_BYTES),
    )


def _plan_shared_base(config: PPOConfig, with_reward_models: bool) -> MemoryPlan:
    from transformers import AutoModelForCausalLM

    policy = load_config(config.model_name_or_path)
    base = _on_meta(AutoModelForCausalLM, policy)
    frozen = _base_bytes(base, config)
    adapters = _adapters(config, with_reward_models)
    lora = LoraAdapters(base, adapters, TRAINED_PARTS)
    head = policy.get_text_config().hidden_size
    num_heads = len({"critic", "helpfulness", "safety"} & set(adapters))
    weights = {name: sum(weight.numel() for weight in lora.parameters_of(name).values()) for name in adapters}
    trained = FLOAT32_BYTES * (weights["policy"] + weights["critic"] + head)
    return MemoryPlan(
        "shared_base",
        trained_weights=0,
        adapters=FLOAT32_BYTES * (sum(weights.values()) + num_heads * head),
        frozen_weights=frozen,
        gradients=trained,
        optimizer=2 * trained,
        logits=_logits(config, policy),
        kv_cache=_kv_cache(config, policy, _bytes_of(config.frozen_dtype)),
    )


def _adapters(config: PPOConfig, with_reward_models: bool) -> dict[str, Any]:
    if config.layout == "shared_base":
        found = find_adapters(config, with_reward_models)
        return {name: getattr(adapter, "config", adapter) for name, adapter in found.items()}
    names = ("policy", "critic", "helpfulness", "safety") if with_reward_models else TRAINED_PARTS
    return dict.fromkeys(names, new_adapter(config))


def _on_meta(auto_class: Any, config: Any) -> nn.Module:
    with torch.device("meta"):
        return auto_class.from_config(config)


def _count(auto_class: Any, config: Any) -> int:
    """Return the parameters of a model, tied ones once; a classifier has one label."""
    config = copy.deepcopy(config)
    if "SequenceClassification" in auto_class.__name__:
        config.num_labels = 1
    return sum(parameter.numel() for parameter in _on_meta(auto_class, config).parameters())


def _base_bytes(base: Any, config: PPOConfig) -> int:
    """Return the bytes of the base; in four bits it keeps its output layer, embeddings and norms as they are."""
    everything = sum(parameter.numel() for parameter in base.parameters())
    linear = [layer for layer in base.modules() if isinstance(layer, nn.Linear)]
    shrunk = sum(layer.weight.numel() for layer in linear if layer is not base.get_output_embeddings())
    shrunk = shrunk if config.load_in_4bit else 0
    return four_bit_bytes(everything, shrunk, _bytes_of(config.frozen_dtype))


def _bytes_of(dtype: str) -> int:
    return getattr(torch, dtype).itemsize


def _logits(config: PPOConfig, policy: Any) -> int:
    vocab_size = policy.get_text_config().vocab_size
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    return logits_bytes(min(chunk_size(vocab_size, device.type), config.micro_batch_tokens), vocab_size)


def _kv_cache(config: PPOConfig, policy: Any, bytes_a_number: int) -> int:
    """Return keys and values of all the tokens that are sampled at once."""
    text = policy.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = heads * (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    return key_value_bytes(text.num_hidden_layers, width, config.sample_batch_tokens, bytes_a_number)
