"""Colocated vLLM against TRL's real `VLLMGeneration` and a stand-in for the package `vllm` (`tests.vllm_stand_in`)."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from chat_model import vllm_colocated
from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.loading import load_causal_lm
from tests.vllm_stand_in import LLM, forget_trl, import_trl_anew, install_vllm

PROMPTS = [[Message("user", text)] for text in ("what color is the fox?", "hi")]
SETTINGS = {"max_new_tokens": 5, "progress": False, "engine": "vllm_colocated"}


@pytest.fixture
def engines(monkeypatch):
    """The engines that start in the stand-in."""
    yield install_vllm(monkeypatch)
    forget_trl()


@pytest.fixture
def model(tiny_checkpoint, tiny_tokenizer):
    return load_causal_lm(tiny_checkpoint, tiny_tokenizer)


def test_responses_are_the_engines_and_nothing_truncates_them(engines, model, tiny_tokenizer):
    expected = sample(model, tiny_tokenizer, PROMPTS, temperature=0, max_new_tokens=5, progress=False)
    found = sample(model, tiny_tokenizer, PROMPTS, temperature=0.7, **SETTINGS)
    assert found == expected  # the stand-in takes the likeliest token
    (engine,) = engines
    (asked,) = [call for call in engine.calls if not isinstance(call, str)]
    bounds = (asked.temperature, asked.top_p, asked.top_k, asked.min_p, asked.repetition_penalty, asked.max_tokens)
    assert bounds == (0.7, 1.0, 0, 0.0, 1.0, 5)
    assert tiny_tokenizer.eos_token_id in asked.stop_token_ids
    assert not hasattr(asked, "seed")  # it would give all samples of a prompt the same noise
    assert engine.options["logprobs_mode"] == "processed_logprobs"
    assert engine.options["gpu_memory_utilization"] == 0.3
    assert engine.calls[-1] == "sleep"  # its memory is the training's again


def test_one_engine_holds_the_newest_weights_at_every_sampling(engines, model, tiny_tokenizer):
    sample(model, tiny_tokenizer, PROMPTS, **SETTINGS)
    with torch.no_grad():
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    expected = sample(model, tiny_tokenizer, PROMPTS, temperature=0, max_new_tokens=5, progress=False)
    assert sample(model, tiny_tokenizer, PROMPTS, **SETTINGS) == expected
    assert len(engines) == 1
    assert engines[0].calls.count("reset_prefix_cache") == 2


def test_adapters_are_added_without_touching_the_base(engines, model, tiny_tokenizer, monkeypatch):
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False)).eval()
    before = {name: weight.clone() for name, weight in adapted.named_parameters()}
    monkeypatch.setattr(type(adapted.base_model), "merge_adapter", lambda *_, **__: pytest.fail("merged in place"))
    expected = sample(adapted, tiny_tokenizer, PROMPTS, temperature=0, max_new_tokens=5, progress=False)
    assert sample(adapted, tiny_tokenizer, PROMPTS, **SETTINGS) == expected
    assert all(torch.equal(weight, before[name]) for name, weight in adapted.named_parameters())


def test_an_engine_with_other_weights_is_found_out(engines, model, tiny_tokenizer, monkeypatch):
    def load_others(self, weights):
        for name, weight in weights:
            dict(self.model.named_parameters())[name].data = 3 * torch.ones_like(weight).bernoulli_(0.5)

    monkeypatch.setattr(LLM, "load_weights", load_others)
    with pytest.raises(RuntimeError, match="nats a token from the model's: vLLM holds other weights"):
        sample(model, tiny_tokenizer, PROMPTS, **SETTINGS)


def test_a_share_of_memory_is_checked(engines, model, tiny_tokenizer, monkeypatch):
    monkeypatch.setenv(vllm_colocated.MEMORY_VARIABLE, "30 GB")
    with pytest.raises(InputError, match="ROUNDS_VLLM_MEMORY: found '30 GB'; expected a share"):
        sample(model, tiny_tokenizer, PROMPTS, **SETTINGS)


def test_a_model_without_files_is_refused(engines, tiny_model, tiny_tokenizer):
    with pytest.raises(InputError, match="starts from a checkpoint's files, and this model came from none"):
        sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)


def test_without_vllm_the_extra_is_named(model, tiny_tokenizer, monkeypatch):
    monkeypatch.setattr(vllm_colocated, "_engines", {})
    import_trl_anew(monkeypatch, with_vllm=False)
    with pytest.raises(InputError, match=r'engine: vllm_colocated needs "rlhf-rounds\[vllm\]"'):
        sample(model, tiny_tokenizer, PROMPTS, **SETTINGS)
