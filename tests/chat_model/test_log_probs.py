"""Chunked log-probs against the naive computation that holds all logits."""

import pytest
import torch

from chat_model import model_size
from chat_model.log_probs import response_log_probs


def make_batch(model, batch=5, time=23):
    torch.manual_seed(3)
    token_ids = torch.randint(10, model.config.vocab_size, (batch, time))
    lengths = torch.randint(8, time + 1, (batch,))
    attention_mask = torch.arange(time) < lengths[:, None]
    response_mask = attention_mask & (torch.arange(time) >= 5)
    return token_ids, attention_mask, response_mask


def naive(model, token_ids, attention_mask, response_mask, temperature):
    logits = model(input_ids=token_ids, attention_mask=attention_mask).logits / temperature
    distribution = logits[:, :-1].log_softmax(-1)
    log_probs, entropy = torch.zeros(token_ids.shape), torch.zeros(token_ids.shape)
    log_probs[:, 1:] = distribution.gather(-1, token_ids[:, 1:, None]).squeeze(-1)
    entropy[:, 1:] = -(distribution.exp() * distribution).sum(-1)
    return log_probs * response_mask, entropy * response_mask


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk_tokens", [1, 7, 4096])
def test_equals_naive(tiny_model, temperature, chunk_tokens):
    batch = make_batch(tiny_model)
    expected = naive(tiny_model, *batch, temperature)
    ours = response_log_probs(tiny_model, *batch, temperature, chunk_tokens, with_entropy=True)
    for left, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=0)


def test_gradients_equal_naive(tiny_model):
    batch = make_batch(tiny_model)
    gradients = []
    for compute in (naive, response_log_probs):
        tiny_model.zero_grad()
        compute(tiny_model, *batch, 0.9)[0].sum().backward()
        gradients.append([parameter.grad.clone() for parameter in tiny_model.parameters()])
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4)


def test_never_holds_all_logits(tiny_model, monkeypatch):
    rows = []
    head = tiny_model.lm_head.forward
    monkeypatch.setattr(tiny_model.lm_head, "forward", lambda hidden: rows.append(hidden.shape[0]) or head(hidden))
    response_log_probs(tiny_model, *make_batch(tiny_model), chunk_tokens=8)
    assert rows and max(rows) <= 8


def test_without_a_number_of_tokens_a_chunk_holds_so_many_logits(tiny_model, monkeypatch):
    rows = []
    head = tiny_model.lm_head.forward
    monkeypatch.setattr(tiny_model.lm_head, "forward", lambda hidden: rows.append(hidden.shape[0]) or head(hidden))
    monkeypatch.setitem(model_size._CHUNK_LOGITS, "cpu", 6 * tiny_model.config.vocab_size)
    response_log_probs(tiny_model, *make_batch(tiny_model))
    assert max(rows) == 6


def test_no_response_gives_zeros(tiny_model):
    token_ids, attention_mask, response_mask = make_batch(tiny_model)
    log_probs, entropy = response_log_probs(tiny_model, token_ids, attention_mask, response_mask & False)
    assert log_probs.shape == token_ids.shape and not log_probs.any() and entropy is None
