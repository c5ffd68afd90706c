"""Continuous batching: the same tokens as batch by batch, the same stops, and the model left as it was."""

import pytest
import torch

from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.log_probs import response_log_probs

PROMPTS = [[Message("user", text)] for text in ("what color is the fox?", "hi", "where does the owl live?")]
SETTINGS = {"max_new_tokens": 6, "progress": False, "batch_tokens": 2048}


def test_greedy_responses_are_those_of_the_other_engine(tiny_model, tiny_tokenizer):
    """Other positions, masks or stop ids would take other tokens; a switched attention would stay behind."""
    with torch.no_grad():
        tiny_model.lm_head.weight[tiny_tokenizer.eos_token_id] *= 4  # some rows end early
    attention = tiny_model.config._attn_implementation
    expected = sample(tiny_model, tiny_tokenizer, PROMPTS, num_samples=2, temperature=0, **SETTINGS)
    found = sample(
        tiny_model, tiny_tokenizer, PROMPTS, num_samples=2, temperature=0, engine="continuous_batching", **SETTINGS
    )
    assert found == expected
    assert tiny_model.config._attn_implementation == attention


def test_draws_follow_the_seed_and_the_whole_distribution(tiny_model, tiny_tokenizer):
    """The model's own top_k of 1 would give the same response every time."""
    tiny_model.generation_config.top_k = 1
    settings = {**SETTINGS, "num_samples": 40, "max_new_tokens": 2, "engine": "continuous_batching"}
    torch.manual_seed(5)
    untouched = torch.rand(1)
    torch.manual_seed(5)
    first, second = (sample(tiny_model, tiny_tokenizer, PROMPTS[:1], seed=seed, **settings) for seed in (1, 2))
    assert torch.rand(1) == untouched
    assert first != second
    assert len({tuple(ids) for ids in first.response_ids}) > 30, "a nearly uniform model says something else each time"
    token_ids, mask = first.padded(tiny_tokenizer.pad_token_id)
    log_probs, _ = response_log_probs(tiny_model, token_ids, token_ids != tiny_tokenizer.pad_token_id, mask)
    assert log_probs[mask].isfinite().all()


def test_an_engine_that_does_not_exist_is_named(tiny_model, tiny_tokenizer):
    with pytest.raises(InputError, match="found 'sglang'; expected one of transformers, continuous_batching, vllm"):
        sample(tiny_model, tiny_tokenizer, PROMPTS, engine="sglang", **SETTINGS)


def test_log_probabilities_that_an_engine_does_not_give_are_refused(tiny_model, tiny_tokenizer):
    with pytest.raises(InputError, match="engine: continuous_batching gives no log-probabilities of ours"):
        options = {"engine": "continuous_batching", "with_log_probs": True}
        sample(tiny_model, tiny_tokenizer, PROMPTS, **options, **SETTINGS)


def test_a_model_without_continuous_batching_says_so(tiny_model, tiny_tokenizer, monkeypatch):
    from transformers.generation import ContinuousMixin

    monkeypatch.delattr(ContinuousMixin, "generate_batch")
    with pytest.raises(InputError, match="LlamaForCausalLM knows no continuous batching; set engine: transformers"):
        sample(tiny_model, tiny_tokenizer, PROMPTS, engine="continuous_batching", **SETTINGS)
