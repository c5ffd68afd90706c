"""Liger's kernels reach every model of PPO that transformers' trainer would give them to; the kernels need a GPU."""

import sys
from types import ModuleType

import pytest
import torch

from chat_model.errors import InputError
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.models.loading import load_models

CPU = torch.device("cpu")


@pytest.fixture
def fused(monkeypatch):
    """A stand-in for Liger, and the classes of models that it was given, each with its options."""
    given, package = [], ModuleType("liger_kernel.transformers")
    package._apply_liger_kernel_to_instance = lambda model, **options: given.append((type(model).__name__, options))
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", package)
    monkeypatch.setattr("transformers.integrations.liger.is_liger_kernel_available", lambda: True)
    return given


@pytest.fixture
def full(tiny_checkpoint, tiny_reward_checkpoint):
    reward_models = {f"{name}_reward_model": str(tiny_reward_checkpoint) for name in ("helpfulness", "safety")}
    return PPOConfig(model_name_or_path=str(tiny_checkpoint), use_liger_kernel=True, **reward_models)


def test_all_models_of_the_full_layout_are_fused_without_a_loss_that_nobody_asks_for(full, tiny_tokenizer, fused):
    load_models(full, tiny_tokenizer, CPU)
    names = ["LlamaForCausalLM", "LlamaForSequenceClassification", "LlamaForCausalLM"]
    assert fused == [(name, {"cross_entropy": False, "fused_linear_cross_entropy": False}) for name in names]


def test_a_shared_base_is_fused_once(tiny_checkpoint, tiny_adapters, tiny_tokenizer, fused):
    reward_models = {f"{name}_reward_model": str(tiny_adapters[name]) for name in ("helpfulness", "safety")}
    config = PPOConfig(model_name_or_path=str(tiny_checkpoint), layout="shared_base", **reward_models)
    load_models(config, tiny_tokenizer, CPU)
    assert fused == []
    config.use_liger_kernel = True
    load_models(config, tiny_tokenizer, CPU)
    assert [name for name, _ in fused] == ["LlamaForCausalLM"]


def test_without_liger_the_package_is_named(full, tiny_tokenizer, monkeypatch):
    monkeypatch.setattr("transformers.integrations.liger.is_liger_kernel_available", lambda: False)
    with pytest.raises(InputError, match="use_liger_kernel: needs the package liger-kernel"):
        load_models(full, tiny_tokenizer, CPU)
