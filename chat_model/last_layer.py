"""The last layer of a decoder, computed only where its output is read.

A reward model's head reads one position of a conversation, PPO reads those before response tokens. Every layer but the
last needs all positions, since later ones attend to them; of the last one, only keys and values are. Queries, the
output projection and the MLP, nine tenths of a layer's arithmetic, work position by position, so elsewhere they are
left out: the same numbers at a saving of up to one layer of all, in the backward pass, too.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from chat_model.tensor_parallel import is_divided

_PARTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp")  # what works on each position by itself


@contextlib.contextmanager
def last_layer_only_at(body: Any, places: Tensor) -> Iterator[None]:
    """Let `body` compute its last layer at `places` alone until the context ends; its output elsewhere means nothing.

    Parts of another name than those of Llama and its many kin are computed everywhere, and so are those that tensor
    parallelism divides, and all where gradient checkpointing would compute the layer again after the context has
    ended, or where the call is being compiled.

    Args:
        body: a decoder of transformers without a head.
        places: bool [batch, time], of its next inputs; at least one is True.
    """
    index = places.flatten().nonzero().squeeze(-1)
    parts = _parts_of_last_layer(body)
    for part in parts:
        part.forward = _only_at(index, part.forward)
    try:
        yield
    finally:
        for part in parts:
            del part.forward


def last_places(present: Tensor) -> Tensor:
    """Return the last place of each row that is `present`, that is, no padding: both bool [batch, time]."""
    columns = torch.arange(present.shape[1], device=present.device)
    return columns == (columns * present).argmax(dim=1, keepdim=True)


def _parts_of_last_layer(body: Any) -> list[nn.Module]:
    layers = getattr(body, "layers", None)
    if torch.compiler.is_compiling() or not isinstance(layers, nn.ModuleList):
        return []
    last = layers[: body.config.num_hidden_layers][-1]
    if getattr(last, "gradient_checkpointing", False) and last.training and torch.is_grad_enabled():
        return []
    parts = [part for name, part in last.named_modules() if name in _PARTS]
    return [part for part in parts if not (hasattr(part, "experts") or "forward" in vars(part) or is_divided(part))]


def _only_at(index: Tensor, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return `forward` of a part [batch, time, size], computed at the flat positions `index` and 0 elsewhere."""

    def at_places(hidden: Tensor) -> Tensor:
        batch, time, size = hidden.shape
        found = forward(hidden.reshape(-1, size).index_select(0, index)[None])[0]
        everywhere = found.new_zeros(batch * time, found.shape[-1])
        return everywhere.index_copy(0, index, found).view(batch, time, -1)

    return at_places
