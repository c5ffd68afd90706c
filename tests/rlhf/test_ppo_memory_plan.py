"""The memory plan counts what the real models, their gradients, moments, cache and logits take, to the byte."""

from dataclasses import replace

import pytest
import torch

from chat_model.loading import load_causal_lm, load_tokenizer
from chat_model.log_probs import token_log_probs
from chat_model.model_size import LOGIT_COPIES
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.memory_plan import MemoryPlan, plan_memory, plan_table
from rlhf.ppo.models.interface import parameter_groups
from rlhf.ppo.models.loading import load_models
from tests.peak_memory import PeakMemory


@pytest.fixture
def full(tiny_checkpoint, tiny_reward_checkpoint):
    """The full layout, in which every reward model is a checkpoint of its own."""
    return PPOConfig(
        model_name_or_path=str(tiny_checkpoint),
        helpfulness_reward_model=str(tiny_reward_checkpoint),
        safety_reward_model=str(tiny_reward_checkpoint),
        sample_batch_tokens=64,
        micro_batch_tokens=128,
    )


@pytest.fixture
def shared(full, tiny_adapters):
    """The shared base with adapters of unequal size."""
    names = {f"{name}_reward_model": str(tiny_adapters[name]) for name in ("helpfulness", "safety")}
    return replace(full, layout="shared_base", policy_adapter=str(tiny_adapters["policy"]), **names)


def load(config):
    return load_models(config, load_tokenizer(config.model_name_or_path), torch.device("cpu"))


def size_of(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def check_training(plan, trained):
    """Compare gradients and moments after a real backward pass and step."""
    optimizer = torch.optim.AdamW(parameter_groups(trained, 1e-3, 1e-3, 0.1))
    ids = torch.randint(1, 300, (2, 8))
    mask = torch.ones_like(ids, dtype=torch.bool)
    for part in ("policy", "critic"):
        outputs = trained(ids, mask, mask, 1.0, part=part)
        (outputs.log_probs if part == "policy" else outputs.values).sum().backward()
    assert plan.gradients == size_of(p.grad for p in trained.parameters() if p.grad is not None)
    optimizer.step()
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert plan.optimizer == size_of(moments)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_full_layout_is_counted_to_the_byte(full, dtype):
    config = replace(full, frozen_dtype=dtype)
    (plan, _), models = plan_memory(config), load(config)
    scorers = [scorer.__self__.model for scorer in (models.scorers.helpfulness, models.scorers.safety)]
    frozen = [parameter for model in (models.reference.model, *scorers) for parameter in model.parameters()]
    assert plan.layout == "full" and plan.adapters == 0
    assert plan.trained_weights == size_of(models.trained.parameters())
    assert plan.frozen_weights == size_of(frozen)
    check_training(plan, models.trained)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("start", ["new", "given"])
def test_the_shared_base_is_counted_to_the_byte(shared, dtype, start):
    config = replace(shared, frozen_dtype=dtype, **({"policy_adapter": None} if start == "new" else {}))
    (plan, _), models = plan_memory(config), load(config)
    parameters = dict(models.trained.named_parameters())
    added = {name: tensor for name, tensor in parameters.items() if "lora_" in name or name.startswith("heads.")}
    assert plan.layout == "shared_base" and plan.trained_weights == 0
    assert plan.adapters == size_of(added.values())
    assert plan.frozen_weights == size_of(tensor for name, tensor in parameters.items() if name not in added)
    check_training(plan, models.trained)


def test_the_other_layout_is_that_of_models_of_the_same_shape(full, shared):
    chosen, other = plan_memory(shared)
    assert other == plan_memory(full)[0]
    assert chosen.peak - chosen.logits < (other.peak - other.logits) / 3
    rank_four = 4 * ((32 + 32) + (32 + 16))  # numbers of q_proj's and v_proj's two matrices in one of two layers
    planned = plan_memory(replace(full, lora_r=4, lora_target_modules=["q_proj", "v_proj"]))[1]
    assert planned.adapters == 4 * (4 * 2 * rank_four + 3 * 32)  # fp32; four adapters, three heads
    assert planned.gradients == 4 * (2 * 2 * rank_four + 32)


def test_rewards_from_elsewhere_take_no_reward_models(full, shared):
    without = plan_memory(replace(full, safety_reward_model="unused"), with_reward_models=False)[0]
    assert without.frozen_weights == size_of(load_causal_lm(full.model_name_or_path).parameters())
    assert plan_memory(shared, with_reward_models=False)[0].adapters < plan_memory(shared)[0].adapters


def test_the_cache_is_as_large_as_that_of_a_real_forward_pass(full):
    model = load_causal_lm(full.model_name_or_path)
    cache = model(torch.ones(4, 16, dtype=torch.long), use_cache=True).past_key_values  # 64 tokens
    real = size_of(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))
    assert plan_memory(full)[0].kv_cache == real
    halved = replace(full, frozen_dtype="bfloat16")
    assert [plan.kv_cache for plan in plan_memory(halved)] == [real, real // 2]  # the full layout's policy is fp32


def test_a_chunk_of_logits_peaks_as_planned(full):
    vocabulary, tokens = 10_000, 64
    head = torch.nn.Linear(2, vocabulary, bias=False).requires_grad_(False)
    hidden = torch.randn(1, 3 * tokens + 1, 2, requires_grad=True)
    ids = torch.randint(vocabulary, (1, 3 * tokens + 1))
    with PeakMemory() as memory:
        token_log_probs(hidden, head, ids, torch.ones_like(ids, dtype=torch.bool), 0.7, tokens)[0].sum().backward()
    planned = LOGIT_COPIES * tokens * vocabulary * 4
    assert memory.peak == pytest.approx(planned, rel=0.02)
    tiny_vocabulary = load_causal_lm(full.model_name_or_path).config.vocab_size
    assert plan_memory(full)[0].logits == LOGIT_COPIES * 128 * tiny_vocabulary * 4


def test_four_bits_shrink_the_linear_layers_only(shared):
    model = load_causal_lm(shared.model_name_or_path)
    inner = sum(layer.weight.numel() for layer in model.model.modules() if isinstance(layer, torch.nn.Linear))
    whole = sum(parameter.numel() for parameter in model.parameters())
    plan, _ = plan_memory(replace(shared, load_in_4bit=True, frozen_dtype="bfloat16"))
    assert plan.frozen_weights == (whole - inner) * 2 + inner // 2 + 4 * inner // 64


def test_the_peak_is_that_of_the_larger_phase():
    plan = MemoryPlan("full", 100, 20, 30, gradients=7, optimizer=200, logits=5, kv_cache=40)
    assert plan.peak == 100 + 20 + 30 + 200 + 40
    assert replace(plan, gradients=50).peak == 100 + 20 + 30 + 200 + 55


def test_the_table_sets_both_layouts_side_by_side():
    from rich.console import Console

    gibibyte = 2**30
    plan = MemoryPlan("shared_base", 0, gibibyte, 13 * gibibyte, gibibyte // 4, gibibyte // 2, gibibyte, 2 * gibibyte)

    def shown(*plans):
        console = Console(record=True, width=100)
        console.print(plan_table(*plans))
        return console.export_text()

    text = shown(plan, replace(plan, layout="full", frozen_weights=40 * gibibyte))
    assert "shared_base (this run)" in text and "GiB" in text and "activations" in text
    assert [line for line in text.splitlines() if "frozen weights" in line and "13.00" in line and "40.00" in line]
    assert [line for line in text.splitlines() if "peak" in line and "16.50" in line and "43.50" in line]
    small = shown(*[MemoryPlan("full", 3 * 2**20, 0, 0, 0, 0, 0, 0)] * 2)
    assert "MiB" in small and "3.00" in small
