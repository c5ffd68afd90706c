"""From a configuration to the models of PPO on their device, in the layout that it names."""

import importlib.util
from typing import Any

import torch
from peft import LoraConfig
from torch import nn

from chat_model.adapters import LoraAdapters, SavedAdapter, read_adapter
from chat_model.errors import InputError
from chat_model.loading import load_causal_lm, load_tokenizer
from reward_model.scoring import RewardScorer
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.models.dropout import turn_dropout_off
from rlhf.ppo.models.full import load_policy_and_critic, load_reference, load_scorers
from rlhf.ppo.models.fused_kernels import fuse
from rlhf.ppo.models.interface import TRAINED_PARTS, PPOModels, Scorers
from rlhf.ppo.models.same_base import check_base_name, check_base_weights
from rlhf.ppo.models.shared_base import SharedBase, SharedClassifier, SharedReference

_LANGUAGE_MODELS = ("policy", "reference")  # the other adapters have a scalar head


def load_models(config: PPOConfig, tokenizer: Any, device: torch.device, scorers: Scorers | None = None) -> PPOModels:
    """Load all models of PPO; what is trained is in fp32, and dropout is off.

    Args:
        tokenizer: the policy's.
        scorers: rewards other than those of the two reward models that `config` names.

    Raises:
        InputError: a model or adapter that cannot be loaded, or that the layout cannot take.
    """
    match config.layout:
        case "full":
            return _load_full(config, tokenizer, device, scorers)
        case "shared_base":
            return _load_shared_base(config, tokenizer, device, scorers)


def critic_start(config: PPOConfig, tokenizer: Any) -> str:
    """Return the checkpoint that the critic of layout `full` starts from.

    That is the helpfulness reward model's where it reads the policy's tokens. One with another tokenizer scores text
    rendered anew, but its layers cannot read the tokens of a rollout: then it is the policy's, with a new head.
    """
    theirs = load_tokenizer(config.helpfulness_reward_model)
    same = theirs.get_vocab() == tokenizer.get_vocab()
    return config.helpfulness_reward_model if same else config.model_name_or_path


def _load_full(config: PPOConfig, tokenizer: Any, device: torch.device, scorers: Scorers | None) -> PPOModels:
    policy, helpfulness = config.model_name_or_path, config.helpfulness_reward_model
    dtype, attention = config.frozen_dtype, config.attn_implementation
    critic = critic_start(config, tokenizer)
    trained = load_policy_and_critic(policy, critic, attention, config.gradient_checkpointing)
    reference = load_reference(config.reference_model or policy, dtype, attention, device)
    if config.use_liger_kernel:
        fuse(trained.policy, trained.critic, reference.model)
    scorers = scorers or load_scorers(helpfulness, config.safety_reward_model, config.micro_batch_tokens, dtype, device)
    return PPOModels(trained, reference, scorers)


def _load_shared_base(config: PPOConfig, tokenizer: Any, device: torch.device, scorers: Scorers | None) -> PPOModels:
    adapters = find_adapters(config, with_reward_models=scorers is None)
    saved = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, SavedAdapter)}
    heads = {name: _head(adapter) for name, adapter in saved.items() if name not in _LANGUAGE_MODELS}
    base = _load_base(config, tokenizer, device)
    for adapter in {adapter.source: adapter for adapter in saved.values()}.values():
        check_base_weights(adapter, base)
    if config.use_liger_kernel:
        fuse(base)
    lora = LoraAdapters(base, adapters, TRAINED_PARTS, config.seed)
    if config.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    module = SharedBase(lora, heads, config.model_name_or_path).to(device)
    turn_dropout_off(module)
    return PPOModels(module, SharedReference(module), scorers or _shared_scorers(module, tokenizer, config))


def _shared_scorers(module: SharedBase, tokenizer: Any, config: PPOConfig) -> Scorers:
    classifiers = (SharedClassifier(module, name, tokenizer.pad_token_id) for name in ("helpfulness", "safety"))
    return Scorers(*(RewardScorer(model, tokenizer, config.micro_batch_tokens).score for model in classifiers))


def find_adapters(config: PPOConfig, with_reward_models: bool = True) -> dict[str, LoraConfig | SavedAdapter]:
    """Return the adapters of the shared base by name; the critic starts as the helpfulness reward model's.

    Raises:
        InputError: an adapter is missing, or of another base model than the policy's.
    """
    adapters: dict[str, LoraConfig | SavedAdapter] = {"policy": new_adapter(config)}
    if config.policy_adapter:
        adapters["policy"] = adapters["reference"] = _read(config, "policy_adapter")
    adapters["critic"] = _read(config, "helpfulness_reward_model")
    if with_reward_models:
        adapters["helpfulness"], adapters["safety"] = adapters["critic"], _read(config, "safety_reward_model")
    return adapters


def new_adapter(config: PPOConfig) -> LoraConfig:
    """Return the configuration of a policy adapter that starts as nothing."""
    targets = config.lora_target_modules
    # PEFT knows the shorthand by its type, a plain string.
    return LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
    )


def _read(config: PPOConfig, field: str) -> SavedAdapter:
    path = getattr(config, field)
    adapter = read_adapter(path)
    check_base_name(field, path, adapter, config.model_name_or_path)
    return adapter


def _head(reward_model: SavedAdapter) -> nn.Linear:
    if reward_model.head is None:
        raise InputError(f"{reward_model.source}: holds no scalar head 'score'; expected the adapter of a reward model")
    head = nn.Linear(reward_model.head.shape[1], 1, bias=False)
    head.weight.data.copy_(reward_model.head)
    return head


def _load_base(config: PPOConfig, tokenizer: Any, device: torch.device) -> Any:
    options: dict[str, Any] = {"dtype": config.frozen_dtype, "attn_implementation": config.attn_implementation}
    if config.load_in_4bit:
        options |= {"quantization_config": _four_bits(config.frozen_dtype), "device_map": {"": device}}
    base = load_causal_lm(config.model_name_or_path, **options)
    rows = base.get_input_embeddings().weight.shape[0]
    if tokenizer.pad_token_id >= rows:
        raise InputError(
            f"model_name_or_path {config.model_name_or_path}: its {rows} embeddings have no room for the pad token "
            f"{tokenizer.pad_token_id}; fine-tune it with sft first, which adds one"
        )
    return base


def _four_bits(compute_dtype: str) -> Any:
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("load_in_4bit: needs the package bitsandbytes; install it, or leave load_in_4bit out")
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute_dtype)
