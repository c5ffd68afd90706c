"""Sampling: order, determinism, stop reasons, and that nothing bends the distribution."""

import pytest
import torch

from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.generation import batches_by_length, sample
from chat_model.log_probs import response_log_probs
from chat_model.template import render_prompt

PROMPTS = [
    [Message("user", text)]
    for text in ("what color is the fox?", "hi", "where does the owl live? tell me please.", "the owl")
]
SETTINGS = {"max_new_tokens": 6, "progress": False}


def test_samples_come_in_the_order_of_the_prompts(tiny_model, tiny_tokenizer):
    samples = sample(tiny_model, tiny_tokenizer, PROMPTS, num_samples=3, batch_tokens=60, **SETTINGS)
    assert len(samples) == 12
    assert samples.prompt_ids == [render_prompt(tiny_tokenizer, prompt) for prompt in PROMPTS for _ in range(3)]


def test_same_seed_same_samples_and_the_callers_randomness_untouched(tiny_model, tiny_tokenizer):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = sample(tiny_model, tiny_tokenizer, PROMPTS, seed=1, **SETTINGS)
    assert torch.rand(1) == expected
    assert first == sample(tiny_model, tiny_tokenizer, PROMPTS, seed=1, **SETTINGS)
    assert first != sample(tiny_model, tiny_tokenizer, PROMPTS, seed=2, **SETTINGS)


def test_greedy_is_the_argmax_of_an_unpadded_prompt(tiny_model, tiny_tokenizer):
    samples = sample(tiny_model, tiny_tokenizer, PROMPTS, temperature=0, **SETTINGS)
    for prompt_ids, response_ids in zip(samples.prompt_ids, samples.response_ids, strict=True):
        ids = list(prompt_ids)
        for token in response_ids:
            assert tiny_model(torch.tensor([ids])).logits[0, -1].argmax() == token
            ids.append(token)


def test_stop_token_is_kept_and_named(tiny_model, tiny_tokenizer):
    with torch.no_grad():
        tiny_model.lm_head.weight[tiny_tokenizer.eos_token_id] = 0
        tiny_model.lm_head.weight *= 0
    samples = sample(tiny_model, tiny_tokenizer, PROMPTS, num_samples=64, max_new_tokens=200, progress=False)
    stop = tiny_tokenizer.eos_token_id
    assert {"stop", "length"} == set(samples.finish_reasons)
    for ids, reason in zip(samples.response_ids, samples.finish_reasons, strict=True):
        assert (ids[-1] == stop) == (reason == "stop") and stop not in ids[:-1]
        assert reason == "stop" or len(ids) == 200


def test_the_models_own_generation_defaults_are_set_aside(tiny_model, tiny_tokenizer):
    plain = sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)
    tiny_model.generation_config.top_k = 1
    tiny_model.generation_config.repetition_penalty = 5.0
    tiny_model.generation_config.suppress_tokens = list(range(100))
    assert sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS) == plain
    assert tiny_model.generation_config.top_k == 1


def test_frequencies_are_those_of_the_trainers_log_probs(tiny_model, tiny_tokenizer):
    """Draw the first token 4,000 times at temperature 0.7 and compare with exp(log-prob) at that temperature."""
    with torch.no_grad():
        tiny_model.lm_head.weight *= 12
    draws = sample(
        tiny_model, tiny_tokenizer, PROMPTS[:1], num_samples=4000, max_new_tokens=1, temperature=0.7, progress=False
    )
    firsts = torch.tensor([ids[0] for ids in draws.response_ids])
    likeliest = firsts.bincount().argmax()
    token_ids = torch.tensor([draws.prompt_ids[0] + [int(likeliest)]])
    response_mask = torch.zeros_like(token_ids, dtype=torch.bool)
    response_mask[0, -1] = True
    log_prob = response_log_probs(tiny_model, token_ids, torch.ones_like(token_ids), response_mask, 0.7)[0][0, -1]
    probability = log_prob.exp().item()
    deviation = (probability * (1 - probability) / 4000) ** 0.5
    assert abs((firsts == likeliest).float().mean().item() - probability) < 5 * deviation


def test_padded(tiny_model, tiny_tokenizer):
    samples = sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)
    token_ids, response_mask = samples.padded(tiny_tokenizer.pad_token_id)
    assert response_mask.sum(1).tolist() == [len(ids) for ids in samples.response_ids]
    assert token_ids[1][response_mask[1]].tolist() == samples.response_ids[1]


def test_prompt_beyond_the_context_is_refused(tiny_model, tiny_tokenizer):
    with pytest.raises(InputError, match="prompt 2: .*context of 2048"):
        sample(tiny_model, tiny_tokenizer, PROMPTS[:2] + [[Message("user", "fox " * 3000)]], **SETTINGS)


def test_batches_hold_the_budget_and_every_row_once():
    lengths = [5, 100, 7, 30, 30, 8, 200]
    batches = batches_by_length(lengths, batch_tokens=130, extra=10)
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert batches[0] == [6]
    assert all(
        len(batch) == 1 or len(batch) * (max(lengths[index] for index in batch) + 10) <= 130 for batch in batches
    )
