"""A scripted stand-in for the package `vllm`, beside which TRL's real `VLLMGeneration` runs colocated.

It starts from the checkpoint's files, forgets its weights when it sleeps deeply, loads what it is given by name, draws
greedily and tells log-probabilities: what the real one does, without a GPU.
"""

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import torch
from transformers import AutoModelForCausalLM

from chat_model import vllm_colocated


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


def install_vllm(monkeypatch):
    """Put the stand-in where `vllm` would be, and let TRL find it; return the list of engines that will start."""
    import_trl_anew(monkeypatch, with_vllm=True)
    package, parameters = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    package.__spec__ = ModuleSpec("vllm", None)
    package.LLM, package.RequestOutput, package.SamplingParams = LLM, SimpleNamespace, SimpleNamespace
    parameters.StructuredOutputsParams = SimpleNamespace
    monkeypatch.setattr(LLM, "started", [])
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", parameters)
    monkeypatch.setattr(vllm_colocated, "_engines", {})
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):  # TRL sets them
        monkeypatch.setenv(variable, "to be restored")
        monkeypatch.delenv(variable)
    return LLM.started


def forget_trl():
    """Let the next import of TRL's module look for vLLM once more."""
    sys.modules.pop("trl.generation.vllm_generation", None)
