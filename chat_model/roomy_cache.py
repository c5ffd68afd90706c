"""A cache of keys and values with room for the tokens to come: one more is written into it, and nothing is moved.

transformers' own cache copies all that it holds for every token it is given; in long dialogues, whose replies are short
against what was said before, that takes as long as the model's arithmetic.
"""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

_ROOM = 1 / 16  # of what is held: more would be read past for every token, less would be copied anew too often
_LEAST_ROOM = 2  # tokens


class RoomyLayer(DynamicLayer):
    """Holds `keys` and `values` ``[rows, heads, T, size]`` as the fronts of longer tensors."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Begin with no tokens."""
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self._longer = self.keys, self.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add keys and values ``[rows, heads, new, size]`` and return all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        longer_keys, longer_values = self._longer
        longer_keys, self.keys = _append(longer_keys, self.keys, key_states)
        longer_values, self.values = _append(longer_values, self.values, value_states)
        self._longer = longer_keys, longer_values
        return self.keys, self.values


def _append(longer: Tensor, front: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Return a tensor that `front`, then `new`, are the front of, and that front; `longer` itself where it has room."""
    held, length = front.shape[-2], front.shape[-2] + new.shape[-2]
    is_front = longer.data_ptr() == front.data_ptr() and longer.shape[:2] == front.shape[:2]
    if not is_front or longer.shape[-2] < length:  # reordering rows makes a tensor of its own
        room = max(_LEAST_ROOM, int(length * _ROOM))
        longer = torch.empty(*front.shape[:2], length + room, front.shape[-1], dtype=front.dtype, device=front.device)
        longer[:, :, :held] = front
    longer[:, :, held:length] = new
    return longer, longer[:, :, :length]


def make_cache(config: Any) -> DynamicCache:
    """Return an empty cache for a model of this configuration; layers that keep a window are left as they are."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def cache_argument(model: Any) -> str:
    """Return how `model` calls its cache: "cache" from transformers 5.24 on, "past_key_values" before."""
    return "cache" if "cache" in inspect.signature(type(model).forward).parameters else "past_key_values"


def is_plain(cache: Any) -> bool:
    """Return whether every layer of `cache` keeps all its keys and values, as a sliding window does not."""
    return all(type(layer) in (DynamicLayer, RoomyLayer) for layer in cache.layers)
