"""Attention of our own in a model of transformers, for as long as a ``with`` block lasts."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from transformers import AttentionInterface


@contextlib.contextmanager
def attending(config: Any, name: str, attend: Callable[..., Any]) -> Iterator[None]:
    """Let the layers of a model with this `config` call `attend`, registered as `name`, until the context ends."""
    before = config._attn_implementation
    AttentionInterface.register(name, attend)
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before
