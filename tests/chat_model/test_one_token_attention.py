"""Attention of one token gives what transformers' own gives, and is used where it was asked for alone."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import chat_model.one_token_attention as one_token
from chat_model.decoding import DecodingSettings, decode
from chat_model.one_token_attention import NAME, attend, one_token_attention

ROWS, SIZE, LENGTH = 3, 8, 11


class Layer:
    """What attention functions ask of a module."""

    is_causal = True

    def __init__(self, groups: int):
        self.num_key_value_groups = groups


def states(heads: int, key_heads: int, time: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(heads)
    shapes = ((heads, time), (key_heads, LENGTH), (key_heads, LENGTH))
    return [torch.randn(ROWS, number, length, SIZE, generator=generator) for number, length in shapes]


def left_padding() -> torch.Tensor:
    return (torch.arange(LENGTH) >= torch.tensor([0, 3, 7])[:, None])[:, None, None]


@pytest.mark.parametrize("mask", [None, left_padding()], ids=["whole", "padded"])
@pytest.mark.parametrize("scaling", [None, 0.2])
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 2), (4, 1)])
def test_it_is_the_attention_of_transformers(heads, key_heads, scaling, mask, monkeypatch):
    """A head that reads another's keys, a scale left out or padding that is seen changes the output."""
    given = states(heads, key_heads)
    expected, _ = sdpa_attention_forward(Layer(heads // key_heads), *given, mask, scaling=scaling)
    monkeypatch.setattr(one_token, "sdpa_attention_forward", None)  # it is our own that answers
    found, _ = attend(Layer(heads // key_heads), *given, mask, scaling=scaling)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", ["prompt", "half precision", "bias", "mask of numbers"])
def test_all_else_is_left_to_transformers(case, monkeypatch):
    asked = []
    monkeypatch.setattr(one_token, "sdpa_attention_forward", lambda *given, **options: asked.append(case))
    query, key, value = states(4, 2, time=5 if case == "prompt" else 1)
    if case == "half precision":
        query, key, value = query.bfloat16(), key.bfloat16(), value.bfloat16()
    mask = left_padding().float() if case == "mask of numbers" else None
    attend(Layer(2), query, key, value, mask, position_bias=torch.zeros(1) if case == "bias" else None)
    assert asked == [case]


@pytest.fixture
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)).eval()


def test_decoding_uses_it_and_says_the_same(model, monkeypatch):
    calls, settings = [], DecodingSettings(12, frozenset([1]), 0, temperature=0)
    monkeypatch.setattr(one_token, "attend", lambda *given, **options: calls.append(1) or attend(*given, **options))
    prompts = [[5, 6, 7, 8], [9, 10]]
    found = decode(model, prompts, settings)
    assert len(calls) == 2 * max(map(len, found)) and model.config._attn_implementation == "sdpa"
    model.set_attn_implementation("eager")
    calls.clear()
    assert decode(model, prompts, settings) == found and not calls  # another attention stays what it is


def test_an_error_leaves_the_model_as_it_was(model):
    with pytest.raises(ValueError, match="inside"), one_token_attention(model):
        assert model.config._attn_implementation == NAME
        raise ValueError("inside")
    assert model.config._attn_implementation == "sdpa"
