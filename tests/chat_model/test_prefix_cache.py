"""Prompts read on from where an earlier one ended give what reading them whole gives, at the cost of the new tokens."""

import pytest
import torch

from chat_model.conversation import Message
from chat_model.generation import sample
from chat_model.loading import load_causal_lm
from chat_model.prefix_cache import PrefixCache
from chat_model.roomy_cache import is_plain, make_cache

TEXTS = ["what color is the fox?", "hi", "where does the owl live? tell me please.", "the owl", "hello there.", "no"]
FIRST = [[Message("user", text)] for text in TEXTS]
SECOND = [
    [*first, Message("assistant", text), Message("user", "and why?")]
    for first, text in zip(FIRST, TEXTS[1:] + TEXTS[:1], strict=True)
]
SETTINGS = {"max_new_tokens": 12, "batch_tokens": 200, "seed": 3, "progress": False}


@pytest.fixture
def computed(tiny_model, monkeypatch):
    """The shapes of what the model is asked to read, call by call."""
    shapes, forward = [], tiny_model.forward
    monkeypatch.setattr(
        tiny_model, "forward", lambda **inputs: shapes.append(tuple(inputs["input_ids"].shape)) or forward(**inputs)
    )
    return shapes


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_responses_are_those_of_prompts_read_whole(tiny_model, tiny_tokenizer, temperature):
    """Keys kept for the wrong row, wrong positions after the gap, or a mask that hides the past change what is said."""
    prefixes = PrefixCache(10_000)
    for prompts in (FIRST, SECOND, SECOND):  # the third time, all but the last token of each prompt is known
        settings = {"num_samples": 3, "temperature": temperature, **SETTINGS}
        whole = sample(tiny_model, tiny_tokenizer, prompts, **settings)
        assert sample(tiny_model, tiny_tokenizer, prompts, prefixes=prefixes, **settings) == whole
    assert len({len(ids) for ids in whole.prompt_ids}) > 3


def test_only_new_tokens_are_read_and_those_of_a_prompt_once_for_all_its_samples(tiny_model, tiny_tokenizer, computed):
    prefixes, settings = PrefixCache(10_000), {**SETTINGS, "batch_tokens": 10_000, "max_new_tokens": 1}
    first = sample(tiny_model, tiny_tokenizer, FIRST, num_samples=4, prefixes=prefixes, **settings)
    second = sample(tiny_model, tiny_tokenizer, SECOND, num_samples=4, prefixes=prefixes, **settings)
    new = [len(long) - len(short) for short, long in zip(first.prompt_ids, second.prompt_ids, strict=True)]
    assert computed == [(len(FIRST), max(map(len, first.prompt_ids))), (len(FIRST), max(new))]
    assert prefixes.num_tokens == sum(map(len, second.prompt_ids)) / 4  # what a dialogue has gone on from is let go


def test_what_does_not_fit_is_read_anew(tiny_model, tiny_tokenizer):
    prefixes = PrefixCache(60)
    for prompts in (FIRST, SECOND):
        whole = sample(tiny_model, tiny_tokenizer, prompts, **SETTINGS)
        assert sample(tiny_model, tiny_tokenizer, prompts, prefixes=prefixes, **SETTINGS) == whole
        assert 0 < prefixes.num_tokens <= 60


def test_a_model_that_keeps_a_window_only_is_read_whole(tiny_tokenizer):
    """Beyond its window a sliding layer has dropped what a longer prompt would be read on from."""
    from transformers import DynamicCache, MistralConfig, MistralForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tiny_tokenizer), num_key_value_heads=2, sliding_window=8, pad_token_id=0, **sizes
    )
    model, prefixes = MistralForCausalLM(config).eval(), PrefixCache(10_000)
    assert not is_plain(DynamicCache(config=config))
    for prompts in (FIRST, SECOND):
        whole = sample(model, tiny_tokenizer, prompts, **SETTINGS)
        assert sample(model, tiny_tokenizer, prompts, prefixes=prefixes, **SETTINGS) == whole
    assert prefixes.num_tokens == 0


def test_a_plain_cache_is_known_as_one(tiny_tokenizer):
    from transformers import DynamicCache

    model = load_causal_lm("tiny:hidden_size=32,intermediate_size=64,num_hidden_layers=1", tiny_tokenizer)
    assert is_plain(DynamicCache(config=model.config)) and is_plain(make_cache(model.config))
