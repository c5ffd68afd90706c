"""Log-probabilities and entropies of responses without ever holding ``[batch, time, vocabulary]``.

Logits are made at response positions only, one chunk of tokens at a time, and made again in the backward pass: with a
32,000-token vocabulary they are the memory peak of PPO, not the model. Where one chunk holds them all they are kept:
the backward pass would hold as many at once.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from chat_model.last_layer import last_layer_only_at
from chat_model.model_size import chunk_size

Head = Callable[[torch.Tensor], torch.Tensor]


def response_log_probs(
    model: Any,
    token_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    response_mask: torch.Tensor,
    temperature: float = 1.0,
    chunk_tokens: int | None = None,
    with_entropy: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a causal language model and return what `token_log_probs` says of its hidden states.

    Args:
        model: a causal language model of transformers (not wrapped).
        token_ids: ``[batch, time]``, padded on the right.
        attention_mask: ``[batch, time]``, True or 1 for tokens that are not padding.
        response_mask: bool ``[batch, time]``.
        chunk_tokens: tokens whose logits are held at once; default: a number that suits vocabulary and device.
    """
    if chunk_tokens is None:
        chunk_tokens = chunk_size(model.config.get_text_config().vocab_size, token_ids.device.type)
    body = model.get_decoder()
    with last_layer_only_at(body, places_before(response_mask)):
        hidden = body(input_ids=token_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    return token_log_probs(
        hidden, language_head(model), token_ids, response_mask, temperature, chunk_tokens, with_entropy
    )


def places_before(response_mask: torch.Tensor) -> torch.Tensor:
    """Return where the states stand that response tokens are read from, one place to their left: bool [batch, time]."""
    return torch.nn.functional.pad(response_mask[:, 1:], (0, 1))


def language_head(model: Any) -> Head:
    """Return the map from hidden states to logits of a causal language model, a soft cap (Gemma 2) included."""
    head = model.get_output_embeddings()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return head if cap is None else lambda hidden: torch.tanh(head(hidden) / cap) * cap


def token_log_probs(
    hidden: torch.Tensor,
    head: Head,
    token_ids: torch.Tensor,
    response_mask: torch.Tensor,
    temperature: float = 1.0,
    chunk_tokens: int = 4096,
    with_entropy: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return ``log_probs [batch, time]`` and, if asked for, ``entropy [batch, time]``, in fp32 and nats.

    Position t holds log p(token t | tokens before t) at `temperature`, and the entropy of that distribution; both are 0
    outside `response_mask`. The first position can hold none, so its mask is ignored.

    Args:
        hidden: ``[batch, time, hidden]``, the last hidden states.
        head: hidden states to logits.
        token_ids: ``[batch, time]``.
        response_mask: bool ``[batch, time]``.
        chunk_tokens: tokens whose logits are held at once.
    """
    chosen = response_mask[:, 1:]
    states, targets = hidden[:, :-1][chosen], token_ids[:, 1:][chosen]
    parts = list(zip(states.split(chunk_tokens), targets.split(chunk_tokens), strict=True))
    run = _chunk if len(parts) == 1 else functools.partial(checkpoint, _chunk, use_reentrant=False)
    chunks = [run(head, part, target, temperature, with_entropy) for part, target in parts]
    log_probs = _scatter([log_prob for log_prob, _ in chunks], response_mask, chosen)
    entropies = [entropy for _, entropy in chunks if entropy is not None]
    return log_probs, _scatter(entropies, response_mask, chosen) if with_entropy else None


def _chunk(
    head: Head, hidden: torch.Tensor, targets: torch.Tensor, temperature: float, with_entropy: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probs ``[tokens]`` of `targets` and the entropy, from ``hidden [tokens, hidden]``."""
    return logits_log_probs(head(hidden), targets, temperature, with_entropy)


def logits_log_probs(
    logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0, with_entropy: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the log-probs ``[tokens]`` of `targets` under ``logits [tokens, vocabulary]``, and the entropies.

    Both are in fp32 and nats, of the distribution at `temperature`; entropies are None unless `with_entropy`.
    """
    logits = logits.float()
    if temperature != 1:
        logits = logits / temperature
    log_probs = -cross_entropy(logits, targets, reduction="none")
    if not with_entropy:
        return log_probs, None
    log_normalizer = logits.gather(-1, targets[:, None]).squeeze(-1) - log_probs
    return log_probs, log_normalizer - torch.linalg.vecdot(logits.softmax(-1), logits)


def _scatter(parts: list[torch.Tensor], response_mask: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Put the values of all chunks back to their places in ``[batch, time]``, zero elsewhere."""
    placed = torch.zeros(response_mask.shape, dtype=torch.float32, device=response_mask.device)
    if parts:
        index = torch.nn.functional.pad(chosen, (1, 0))
        placed = placed.masked_scatter(index, torch.cat(parts))
    return placed
