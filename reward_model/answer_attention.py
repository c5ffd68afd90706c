"""Attention over the rows of `pair_batch`, answer by answer: what the mask rules out anyway is not computed.

Under one mask for the whole row, every token of K answers is compared to every other: with K samples of a prompt most
of that is thrown away, and it grows with the square of K. Here an answer's tokens are compared to the prompt and to
their own answer alone, under the part of the same mask that is about them, so the result is the same, sliding windows
included. In the last layer only the end of each answer looks back, since nothing else is read. The function is
registered with transformers under `NAME`, beside its own "sdpa", and serves where no gradient is asked for: on a CPU,
where the many small calls cost nothing.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from chat_model.attention import attending

NAME = "sdpa_answer_by_answer"
Layout = Sequence[tuple[int, list[int]]]  # of each row: the tokens of its prompt, and where each of its answers ends


def answer_by_answer(model: Any) -> AbstractContextManager[None]:
    """Let `model`, whose attention is "sdpa", attend in this way until the context ends."""
    return attending(model.config, NAME, _attend)


def layout_of(segments: Tensor, ends: Tensor) -> Layout:
    """Return the layout of the rows of `pair_batch.one_row_each`, from its ``segments`` and ``ends``."""
    prefixes = (segments == 0).sum(dim=1).tolist()
    return [(prefix, [end + 1 for end in row if end >= 0]) for prefix, row in zip(prefixes, ends.tolist(), strict=True)]


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
    layout: Layout = (),
    **ignored: Any,
) -> tuple[Tensor, None]:
    """Return the attention's output [batch, time, heads, size]; 0 at padding and, in the last layer, off the ends.

    Args:
        query: [batch, heads, time, size]; key and value [batch, key heads, time, size].
        attention_mask: True where a token sees another [batch, 1, time, time].
        sliding_window: without one the first answer, with the prompt before it, is attended to causally.
        layout: of the rows; transformers hands it on from the call of the body.
    """
    assert layout, "an architecture that does not hand arguments of the call on to its attention"
    is_last = module.layer_idx == module.config.num_hidden_layers - 1
    output = torch.zeros_like(query)
    for row, (prefix, ends) in enumerate(layout):
        for begin, end in zip([0, *ends], ends, strict=False):
            seen = [slice(0, prefix), slice(begin, end)] if begin else [slice(0, end)]
            keys, values = (torch.cat([states[row, :, part] for part in seen], dim=1) for states in (key, value))
            looking = slice(end - 1 if is_last else begin, end)
            is_causal = looking.start == 0 and sliding_window is None
            mask = None if is_causal else torch.cat([attention_mask[row, 0, looking, part] for part in seen], dim=1)
            states = (query[row : row + 1, :, looking], keys[None], values[None])
            options = {"is_causal": is_causal, "scale": scaling, "enable_gqa": True}
            attended = scaled_dot_product_attention(*states, mask, **options)
            output[row, :, looking] = attended[0]
    return output.transpose(1, 2).contiguous(), None
