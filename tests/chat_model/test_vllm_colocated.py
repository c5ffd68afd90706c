"""Colocated vLLM against TRL's real `VLLMGeneration` and a scripted stand-in for the package `vllm`.

The stand-in starts from the checkpoint's files, forgets its weights when it sleeps deeply, loads what it is given by
name, draws greedily and tells log-probabilities: what the real one does, without a GPU.
"""

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from chat_model import vllm_colocated
from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.loading import load_causal_lm

PROMPTS = [[Message("user", text)] for text in ("what color is the fox?", "hi")]
SETTINGS = {"max_new_tokens": 5, "progress": False, "engine": "vllm_colocated"}


class LLM:
    """vLLM's class as far as TRL asks for it; `started` lists those that were made."""

    started: list = []

    def __init__(self, model, **options):
        self.model, self.options, self.calls = AutoModelForCausalLM.from_pretrained(model), options, []
        executor = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=SimpleNamespace(model=self)))
        self.llm_engine = SimpleNamespace(model_executor=executor)
        self.awake = {"weights", "kv_cache"}
        LLM.started.append(self)

    @torch.no_grad()
    def load_weights(self, weights):
        assert "weights" in self.awake
        for name, weight in weights:
            dict(self.model.named_parameters())[name].copy_(weight)

    @torch.no_grad()
    def sleep(self, level):
        assert level == 2
        for weight in self.model.parameters():
            weight.fill_(float("nan"))
        self.awake = set()
        self.calls.append("sleep")

    def wake_up(self, tags):
        self.awake |= set(tags)

    def reset_prefix_cache(self):
        self.calls.append("reset_prefix_cache")

    @torch.no_grad()
    def generate(self, prompts, sampling_params, use_tqdm):
        assert self.awake == {"weights", "kv_cache"}
        self.calls.append(sampling_params)
        return [self._answer(prompt["prompt_token_ids"], sampling_params) for prompt in prompts]

    def _answer(self, prompt, asked):
        ids, log_probs = list(prompt), []
        while len(log_probs) < asked.max_tokens and (not log_probs or ids[-1] not in asked.stop_token_ids):
            scores = (self.model(torch.tensor([ids])).logits[0, -1] / asked.temperature).log_softmax(-1)
            ids.append(int(scores.argmax()))
            log_probs.append({ids[-1]: SimpleNamespace(rank=1, logprob=float(scores.max()))})
        output = SimpleNamespace(token_ids=tuple(ids[len(prompt) :]), logprobs=log_probs)
        return SimpleNamespace(prompt_token_ids=prompt, outputs=[output])


def import_trl_anew(monkeypatch, with_vllm):
    """Let TRL's module, which looks for vLLM when it is imported, find it or not; its client, unused here, does not."""
    importlib.import_module("trl.generation.vllm_client")
    monkeypatch.setattr(importlib.import_module("trl.import_utils"), "is_vllm_available", lambda *_, **__: with_vllm)
    monkeypatch.delitem(sys.modules, "trl.generation.vllm_generation", raising=False)


@pytest.fixture
def engines(monkeypatch):
    """The stand-in where `vllm` would be, and TRL's module imported anew beside it; gives the engines that start."""
    import_trl_anew(monkeypatch, with_vllm=True)
    package, parameters = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    package.__spec__ = ModuleSpec("vllm", None)
    package.LLM, package.RequestOutput, package.SamplingParams = LLM, SimpleNamespace, SimpleNamespace
    parameters.StructuredOutputsParams = SimpleNamespace
    monkeypatch.setattr(LLM, "started", [])
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", parameters)
    monkeypatch.setattr(vllm_colocated, "_engines", {})
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(variable, {"WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}.get(variable, "0"))
    yield LLM.started
    sys.modules.pop("trl.generation.vllm_generation", None)


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
