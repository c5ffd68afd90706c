"""The weights of a model with its active LoRA adapters added, for an engine that holds a copy of its own.

Nothing is merged in place: merging in and out of bf16 weights wears them down (after a thousand cycles by twice the
mean weight). Each sum is taken in fp32, into a tensor that is gone when the next one is asked for.
"""

from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from chat_model.errors import InputError
from chat_model.tensor_parallel import whole

_PEFT_PREFIX, _WRAPPED = "base_model.model.", ".base_layer"


@torch.no_grad()
def merged_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield ``(name, weight)`` by the names that the model has without adapters; a weight is whole and may be the
    model's own tensor. Where a model is divided, every process of the replica goes through all of them.

    Raises:
        InputError: weights in four bits, which no sum can be written to.
    """
    for name, weight, layer in _named_weights(model):
        yield name, _with_adapters(whole(weight), layer)


def merged_shapes(model: Any) -> list[tuple[str, torch.dtype, list[int]]]:
    """Return name, precision and shape of what `merged_weights` yields, in its order. Raises InputError as it does."""
    return [(name, weight.dtype, list(weight.shape)) for name, weight, _ in _named_weights(model)]


def _named_weights(model: Any) -> Iterator[tuple[str, Tensor, Any]]:
    """Yield name, weight as it is held, and the layer whose adapters go on it, if there is one."""
    layers = {f"{path}{_WRAPPED}.weight": layer for path, layer in model.named_modules() if _is_adapted(layer)}
    for path, weight in model.named_parameters():
        if ".lora_" in path:
            continue
        if not weight.is_floating_point():
            raise InputError(f"{path}: is held in {weight.dtype}; another engine can only be sent a model in full")
        name = path.removeprefix(_PEFT_PREFIX).replace(_WRAPPED, "")
        yield name, weight.detach(), layers.get(path)


def _is_adapted(layer: Any) -> bool:
    return isinstance(layer, BaseTunerLayer) and not layer.disable_adapters


def _with_adapters(weight: Tensor, layer: Any) -> Tensor:
    if layer is None:
        return weight
    deltas = [layer.get_delta_weight(name).float() for name in layer.active_adapters]
    return sum(deltas, weight.float()).to(weight.dtype)
