"""Decode one batch of prompts token by token, computing next to nothing for responses that have ended.

transformers' `generate` carries every row to the end of its batch, and draws with `torch.multinomial`, which makes a
random number for each token of the vocabulary: with 32,000 tokens that takes a CPU longer than a small model itself.
Here ended rows leave the batch and its cache, and one random number a row is looked up in the cumulative distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chat_model.last_layer import last_layer_only_at
from chat_model.log_probs import logits_log_probs
from chat_model.one_token_attention import one_token_attention
from chat_model.prefix_cache import PrefixCache
from chat_model.tensor_parallel import same_tokens

_DROPPED_SHARE = 1 / 8  # ended rows are dropped when they are this share of a batch: moving the cache costs time too


@dataclass(frozen=True)
class DecodingSettings:
    """How tokens are drawn, and when a response ends."""

    max_new_tokens: int
    stop_token_ids: frozenset[int]
    pad_token_id: int
    temperature: float = 1.0  # 0 takes the likeliest token
    top_p: float = 1.0


def decode(
    model: Any, prompt_ids: Sequence[list[int]], settings: DecodingSettings, prefixes: PrefixCache | None = None
) -> list[list[int]]:
    """Return one response a prompt, cut after its first stop token, drawn by torch's global random state.

    Args:
        model: a causal language model of transformers, in evaluation mode, that keeps keys and values in a cache.
        prompt_ids: token ids of each prompt, at least one prompt.
        prefixes: prompts are read from where one that it holds ends, equal ones once, and kept there in their turn.
    """
    return _decode(model, prompt_ids, settings, prefixes, None)


def decode_with_log_probs(
    model: Any, prompt_ids: Sequence[list[int]], settings: DecodingSettings, prefixes: PrefixCache | None = None
) -> tuple[list[list[int]], list[Tensor]]:
    """Return what `decode` does and, for each response of T tokens, what the sampler knew of them: fp32 ``[2, T]``.

    The first row holds their log-probabilities, the second the entropies of the distributions that they were drawn
    from, both in nats at `settings.temperature`, which is above 0; `top_p` does not enter.
    """
    known = torch.zeros(2, len(prompt_ids), settings.max_new_tokens, device=model.device)
    responses = _decode(model, prompt_ids, settings, prefixes, known)
    of_each = zip(known.cpu().unbind(1), responses, strict=True)
    return responses, [of_response[:, : len(ids)] for of_response, ids in of_each]


@torch.no_grad()
def _decode(
    model: Any,
    prompt_ids: Sequence[list[int]],
    settings: DecodingSettings,
    prefixes: PrefixCache | None,
    known: Tensor | None,
) -> list[list[int]]:
    """Decode, and write log-probabilities and entropies to ``known [2, rows, max_new_tokens]`` where there is one."""
    with one_token_attention(model):
        return _decode_rows(_Rows(model, prompt_ids, settings.pad_token_id, prefixes), settings, known)


def _decode_rows(rows: "_Rows", settings: DecodingSettings, known: Tensor | None) -> list[list[int]]:
    drawn = rows.numbers.new_full((len(rows.numbers), settings.max_new_tokens), settings.pad_token_id)
    stops = drawn.new_tensor(sorted(settings.stop_token_ids))
    for step in range(settings.max_new_tokens):
        logits = rows.next_logits() if step else rows.first_logits()
        tokens = same_tokens(rows.model, draw_tokens(logits, settings.temperature, settings.top_p))
        drawn[rows.numbers, step] = tokens
        if known is not None:
            log_probs, entropies = logits_log_probs(logits, tokens, settings.temperature, with_entropy=True)
            known[0, rows.numbers, step], known[1, rows.numbers, step] = log_probs, entropies
        if not rows.append(tokens, torch.isin(tokens, stops)):
            break
    return [_until_stop(row, settings.stop_token_ids) for row in drawn.tolist()]


def draw_tokens(logits: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """Return a token ``[rows]`` from each distribution of ``logits [rows, vocabulary]``.

    The token is the first whose cumulative probability exceeds a uniform number, so none of probability 0 is drawn.
    """
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / temperature
    if top_p < 1:
        from transformers import TopPLogitsWarper

        logits = TopPLogitsWarper(top_p)(None, logits)
    cumulative = logits.softmax(-1).cumsum_(-1)
    uniform = torch.rand(len(logits), 1, device=logits.device)
    return torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True).squeeze(-1)


class _Rows:
    """The rows of a batch that are still computed, with their cache."""

    def __init__(
        self, model: Any, prompt_ids: Sequence[list[int]], pad_token_id: int, prefixes: PrefixCache | None = None
    ):
        from chat_model.roomy_cache import cache_argument, is_plain, make_cache

        self.model, self.cache, self.cache_argument = model, make_cache(model.config), cache_argument(model)
        self.prefixes = prefixes if prefixes is not None and is_plain(self.cache) else None
        prompts = [tuple(ids) for ids in prompt_ids]
        self.prompts = prompts if self.prefixes is None else list(dict.fromkeys(prompts))
        self._read(pad_token_id)
        place = {prompt: row for row, prompt in enumerate(self.prompts)}
        self.copies = torch.tensor([place[prompt] for prompt in prompts], device=model.device)
        self.numbers = torch.arange(len(prompts), device=model.device)  # [rows], their places in the batch
        self.ended = torch.zeros_like(self.numbers, dtype=torch.bool)

    def _read(self, pad_token_id: int) -> None:
        """Fill the cache with what is known of the prompts; the rest becomes `token_ids`, padded on the left."""
        known = self.prefixes.load(self.cache, self.prompts) if self.prefixes is not None else [0] * len(self.prompts)
        new = [ids[start:] for ids, start in zip(self.prompts, known, strict=True)]
        width = max(map(len, new))
        padded = [[pad_token_id] * (width - len(ids)) + list(ids) for ids in new]
        device = self.model.device
        self.token_ids = torch.tensor(padded, device=device)  # [rows, new], what the cache does not hold yet
        is_known, is_new = (_last_places(lengths, device) for lengths in (known, list(map(len, new))))
        self.attention_mask = torch.cat([is_known, is_new], dim=1)

    def first_logits(self) -> Tensor:
        """Read the prompts, keep them where they may be needed again, and return logits as `next_logits` does."""
        is_read = torch.zeros_like(self.token_ids, dtype=torch.bool)
        is_read[:, -1] = True
        with last_layer_only_at(self.model.get_decoder(), is_read):
            logits = self.next_logits()
        if self.prefixes is not None:
            self.prefixes.store(self.cache, self.prompts, self.attention_mask)
            self.cache.reorder_cache(self.copies)
            self.attention_mask, logits = self.attention_mask[self.copies], logits[self.copies]
        return logits

    def next_logits(self) -> Tensor:
        """Run the model over the new tokens and return the logits ``[rows, vocabulary]`` of the ones to come."""
        positions = (self.attention_mask.cumsum(-1) - 1).clamp(min=0)
        return self.model(
            input_ids=self.token_ids,
            attention_mask=self.attention_mask,
            position_ids=positions[:, -self.token_ids.shape[1] :],
            **{self.cache_argument: self.cache},
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def append(self, tokens: Tensor, is_stop: Tensor) -> int:
        """Add a token to every row, drop ended rows when they are many; return how many rows have not ended."""
        self.token_ids = tokens[:, None]
        self.attention_mask = torch.nn.functional.pad(self.attention_mask, (0, 1), value=True)
        self.ended = self.ended | is_stop
        num_left = len(tokens) - int(self.ended.sum())
        if 0 < num_left <= (1 - _DROPPED_SHARE) * len(tokens):
            self._keep((~self.ended).nonzero().squeeze(-1))
        return num_left

    def _keep(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.token_ids, self.attention_mask = self.token_ids[rows], self.attention_mask[rows]
        self.numbers, self.ended = self.numbers[rows], self.ended[rows]


def _last_places(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Return a mask ``[rows, longest]`` of the last ``lengths[i]`` places of each row."""
    longest = max(lengths)
    return torch.arange(longest, device=device) >= longest - torch.tensor(lengths, device=device)[:, None]


def _until_stop(token_ids: list[int], stops: frozenset[int]) -> list[int]:
    end = next((index + 1 for index, token in enumerate(token_ids) if token in stops), len(token_ids))
    return token_ids[:end]
