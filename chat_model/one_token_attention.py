"""Attention of one new token to all that a cache holds, on a CPU, where most of the time of sampling goes.

PyTorch's CPU kernel is made for long queries; for a single one a product with the keys and one with the values take a
third to a half of its time, and heads that share keys (GQA) read them once. Registered with transformers under `NAME`
beside its own "sdpa", which is asked for whatever else there is: prompts, half precision, positional biases.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from chat_model.attention import attending

NAME = "sdpa_one_token"


@contextlib.contextmanager
def one_token_attention(model: Any) -> Iterator[None]:
    """Let `model` attend in this way until the context ends; one on a GPU, or with another attention, is left alone."""
    config = model.config.get_text_config()
    if model.device.type != "cpu" or config._attn_implementation != "sdpa":
        yield
        return
    AttentionMaskInterface.register(NAME, sdpa_mask)
    with attending(config, NAME, attend):
        yield


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the attention's output [rows, time, heads, size], as `sdpa_attention_forward` does.

    Args:
        query: [rows, heads, time, size]; key and value [rows, key heads, T, size].
        attention_mask: True where a token is seen [rows, 1, time, T].
    """
    rows, heads, time, size = query.shape
    if not _is_ours(query, attention_mask, options):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    by_key_head = query.view(rows, key.shape[1], heads // key.shape[1], size)
    scores = by_key_head @ key.transpose(-1, -2) * (size**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores.masked_fill_(~attention_mask, -torch.inf)
    return (scores.softmax(-1) @ value).view(rows, time, heads, -1), None


def _is_ours(query: Tensor, attention_mask: Tensor | None, options: dict[str, Any]) -> bool:
    is_plain = not any(options.get(name) is not None for name in ("position_bias", "softcap"))
    is_seen_alike = attention_mask is None or (attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1)
    return query.shape[2] == 1 and query.dtype == torch.float32 and is_plain and is_seen_alike
