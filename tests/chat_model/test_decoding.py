"""Decoding one batch: draws that follow the distribution, and rows that leave without disturbing the others."""

from dataclasses import replace

import pytest
import torch

from chat_model.decoding import DecodingSettings, decode, decode_with_log_probs, draw_tokens
from chat_model.log_probs import response_log_probs

NEVER = -torch.inf
LOGITS = torch.tensor([NEVER, 2.0, 0.0, NEVER, -1.0, 1.0, -4.0, NEVER])
NUM_DRAWS = 40_000


def frequencies(temperature: float = 1.0, top_p: float = 1.0) -> torch.Tensor:
    torch.manual_seed(0)
    drawn = draw_tokens(LOGITS.expand(NUM_DRAWS, -1), temperature, top_p)
    return drawn.bincount(minlength=len(LOGITS)) / NUM_DRAWS


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_are_drawn_as_often_as_they_are_probable(temperature):
    """A cumulative sum that is read off by one shifts every token; a token of probability 0 must never come."""
    expected = (LOGITS / temperature).softmax(-1)
    found = frequencies(temperature)
    assert ((found - expected).abs() <= 5 * (expected * (1 - expected) / NUM_DRAWS).sqrt()).all()
    assert not found[LOGITS == NEVER].any()


def test_temperature_zero_takes_the_likeliest():
    assert draw_tokens(LOGITS[None], temperature=0).tolist() == [1]


def test_top_p_leaves_the_smallest_set_that_reaches_it():
    assert (frequencies(top_p=0.8) > 0).nonzero().flatten().tolist() == [1, 5]


def test_a_low_precision_model_is_drawn_from_in_fp32():
    """In bf16 a cumulative sum over 32,000 tokens stands still at 1/256 steps and most tokens could never come."""
    logits = torch.zeros(64, 32_000, dtype=torch.bfloat16)
    torch.manual_seed(0)
    assert draw_tokens(logits).unique().numel() > 60


@pytest.fixture
def settings(tiny_tokenizer):
    """One token in twelve ends a response, so that rows end at different times."""
    return DecodingSettings(24, frozenset(range(0, 300, 12)), tiny_tokenizer.pad_token_id, temperature=0)


def prompts_of_all_lengths(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(4)
    return [
        torch.randint(10, 300, (int(length),), generator=generator).tolist()
        for length in torch.randint(2, 12, (count,), generator=generator)
    ]


def test_rows_that_leave_do_not_disturb_the_others(tiny_model, settings):
    """A cache, mask or position that is kept for the wrong row changes what the remaining rows say."""
    prompts = prompts_of_all_lengths(32)
    together = decode(tiny_model, prompts, settings)
    assert len({len(response) for response in together}) > 5
    assert together == [decode(tiny_model, [prompt], settings)[0] for prompt in prompts]


def test_ended_rows_are_hardly_computed(tiny_model, settings, monkeypatch):
    """`generate` would run every row to the end of the longest."""
    computed, forward = [], tiny_model.forward
    monkeypatch.setattr(
        tiny_model, "forward", lambda **inputs: computed.append(len(inputs["input_ids"])) or forward(**inputs)
    )
    lengths = [len(response) for response in decode(tiny_model, prompts_of_all_lengths(64), settings)]
    assert computed == sorted(computed, reverse=True) and len(computed) == max(lengths)
    assert sum(computed) <= sum(lengths) * 8 / 7 + max(lengths)
    assert sum(computed) < 0.8 * len(lengths) * max(lengths)


def test_responses_keep_their_stop_token_and_the_bound(tiny_model, settings):
    for response in decode(tiny_model, prompts_of_all_lengths(32), settings):
        stops = [token in settings.stop_token_ids for token in response]
        assert not any(stops[:-1]) and (stops[-1] or len(response) == settings.max_new_tokens)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_what_the_sampler_knew_is_what_a_pass_over_the_responses_says(tiny_model, settings, temperature):
    """Log-probs of another row or step, of the logits before the temperature, or of a token never said would differ."""
    prompts = prompts_of_all_lengths(32)
    torch.manual_seed(0)
    responses, known = decode_with_log_probs(tiny_model, prompts, replace(settings, temperature=temperature))
    torch.manual_seed(0)
    assert responses == decode(tiny_model, prompts, replace(settings, temperature=temperature))
    assert len(set(map(len, responses))) > 5
    for prompt, response, of_response in zip(prompts, responses, known, strict=True):
        token_ids = torch.tensor([prompt + response])
        mask = torch.arange(token_ids.shape[1])[None] >= len(prompt)
        inputs = (token_ids, torch.ones_like(token_ids), mask, temperature)
        with torch.no_grad():
            expected = torch.stack([each[mask] for each in response_log_probs(tiny_model, *inputs, with_entropy=True)])
        torch.testing.assert_close(of_response, expected, atol=1e-5, rtol=0)
