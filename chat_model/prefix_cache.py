"""Keys and values of prompts read before, so that a longer prompt that begins with one is read only from there on.

A dialogue's next prompt begins with the last one: read from the start every time, it costs the square of its turns.
Entries are found by their tokens, which is all that keys and values depend on. Rounding depends on what was remembered:
where samples must be the same on any number of processes, which prompts meet in a cache must not hang on it either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

TokenIds = tuple[int, ...]
Layers = list[tuple[Tensor, Tensor]]
"""Keys and values ``[heads, T, size]`` of each layer."""


@dataclass
class PrefixCache:
    """Holds prompts of `max_tokens` tokens in all; what does not fit is read anew when it is needed."""

    max_tokens: int
    num_tokens: int = 0
    _entries: dict[TokenIds, Layers] = field(default_factory=dict)

    def load(self, cache: Any, prompts: Sequence[TokenIds]) -> list[int]:
        """Put what is known of each prompt into the empty `cache` and return how many of its tokens that is.

        Rows are padded on the left. The last token of a prompt counts as unknown: its logits have to be computed.
        """
        found = [self._entries.get(self._find(prompt)) for prompt in prompts]
        pairs = zip(prompts, found, strict=True)
        known = [min(layers[0][0].shape[-2], len(ids) - 1) if layers else 0 for ids, layers in pairs]
        num_layers = next(len(layers) for layers in found if layers) if any(known) else 0
        for number in range(num_layers):
            of_layer = [layers[number] if layers else (None, None) for layers in found]
            cache.update(*(_pad(rows, known) for rows in zip(*of_layer, strict=True)), number)
        return known

    def store(self, cache: Any, prompts: Sequence[TokenIds], attention_mask: Tensor) -> None:
        """Keep what `cache` holds of each prompt; the columns of its row are those of ``attention_mask [rows, T]``."""
        for row, prompt in enumerate(prompts):
            columns = attention_mask[row].nonzero().squeeze(-1)
            self._forget(self._find(prompt))  # its dialogue has gone on
            if self.num_tokens + len(prompt) <= self.max_tokens:
                layers = [(each.keys[row][:, columns], each.values[row][:, columns]) for each in cache.layers]
                self._entries[prompt] = layers
                self.num_tokens += len(prompt)

    def _find(self, prompt: TokenIds) -> TokenIds:
        """Return the longest prompt of the cache that `prompt` begins with; an empty one when there is none."""
        lengths = sorted({len(entry) for entry in self._entries if len(entry) <= len(prompt)}, reverse=True)
        return next((prompt[:length] for length in lengths if prompt[:length] in self._entries), ())

    def _forget(self, prompt: TokenIds) -> None:
        if self._entries.pop(prompt, None) is not None:
            self.num_tokens -= len(prompt)


def _pad(rows: Sequence[Tensor | None], lengths: Sequence[int]) -> Tensor:
    """Return the first ``lengths[i]`` places of ``rows[i] [heads, T, size]`` as ``[rows, heads, longest, size]``."""
    nothing, longest = next(row[:, :0] for row in rows if row is not None), max(lengths)
    cut = [nothing if row is None else row[:, :length] for row, length in zip(rows, lengths, strict=True)]
    return torch.stack([torch.nn.functional.pad(row, (0, 0, longest - row.shape[1], 0)) for row in cut])
