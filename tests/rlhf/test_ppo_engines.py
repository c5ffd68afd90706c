"""PPO samples by colocated vLLM: the newest policy, its adapter included, answers in every iteration."""

import pytest
import torch
from peft import PeftModel

from chat_model.loading import load_causal_lm
from tests.vllm_stand_in import LLM, forget_trl, install_vllm


@pytest.fixture
def held(monkeypatch):
    """What stood in the engine's first query projection, each time it sampled."""
    engines, found, generate = install_vllm(monkeypatch), [], LLM.generate

    def note(self, *args, **kwargs):
        found.append(self.model.model.layers[0].self_attn.q_proj.weight.clone())
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(LLM, "generate", note)
    yield found
    assert len(engines) == 1
    forget_trl()


def test_the_full_layout(held, settings, scorers, run_into, read_metrics, tmp_path):
    run_into(tmp_path / "out", {**settings, "num_iterations": 3, "save_every": 0, "engine": "vllm_colocated"}, scorers)
    start = load_causal_lm(settings["model_name_or_path"]).model.layers[0].self_attn.q_proj.weight
    assert torch.equal(held[0], start) and torch.equal(held[1], start)  # in the first iteration the critic learns alone
    assert not torch.equal(held[2], start) and len(held) == 3
    assert [row["sampler_mismatch"] < 1e-4 for row in read_metrics(tmp_path / "out")] == [True] * 3


def test_a_shared_base(held, settings, scorers, run_into, tiny_checkpoint, tiny_adapters, tmp_path):
    adapters = {f"{name}_reward_model": str(tiny_adapters[name]) for name in ("helpfulness", "safety")}
    shared = {**settings, **adapters, "layout": "shared_base", "policy_adapter": str(tiny_adapters["policy"])}
    run_into(tmp_path / "out", {**shared, "num_iterations": 3, "save_every": 0, "engine": "vllm_colocated"}, scorers)
    base = load_causal_lm(tiny_checkpoint).model.layers[0].self_attn.q_proj.weight
    adapted = PeftModel.from_pretrained(load_causal_lm(tiny_checkpoint), tiny_adapters["policy"] / "adapter")
    start = adapted.merge_and_unload().model.layers[0].self_attn.q_proj.weight
    assert not torch.allclose(start, base, atol=1e-3)
    torch.testing.assert_close(held[0], start, atol=1e-6, rtol=0)
    assert not torch.allclose(held[2], start, atol=1e-6) and len(held) == 3
