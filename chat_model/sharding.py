"""Sharded weights made whole once a rollout.

Sampling runs a model once a token. Under FSDP2 and ZeRO-3 each of those runs would gather every layer's weights from
all processes, which makes sampling 10 to 100 times slower (trl#1900, DeepSpeedExamples#718).
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


@contextlib.contextmanager
def whole_weights(root: nn.Module, part: nn.Module) -> Iterator[None]:
    """Hold the weights of `part` whole inside the ``with`` block; do nothing where they are so already.

    Inside, `part` runs without any communication, so processes need not run it equally often. The hooks of FSDP2 and
    ZeRO-3 are set aside for that: they note the order of forward passes, by which the next backward pass gathers ahead,
    free weights after use, and would wait for each other for ever when one process made more passes than another.

    Args:
        root: the module that was sharded; it may hold weights of `part` that no layer of its own holds.
        part: `root` or a module inside it.
    """
    weights = list(part.parameters())
    if any(isinstance(weight, DTensor) for weight in weights):
        modules = {id(module): module for module in (root, *part.modules())}.values()
        shards = [module for module in modules if isinstance(module, FSDPModule)]
        with _unsharded(shards), _hooks_set_aside(shards):
            yield
    elif any(hasattr(weight, "ds_id") and not weight.numel() for weight in weights):  # ZeRO-3 leaves empty ones behind
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(weights), _hooks_set_aside(list(part.modules())):
            yield
    else:
        yield


@contextlib.contextmanager
def _unsharded(shards: list[FSDPModule]) -> Iterator[None]:
    for shard in shards:
        shard.unshard()
    try:
        yield
    finally:
        for shard in shards:
            shard.reshard()


@contextlib.contextmanager
def _hooks_set_aside(modules: list) -> Iterator[None]:
    hooks = [(module._forward_pre_hooks, module._forward_hooks) for module in modules]
    for module in modules:
        module._forward_pre_hooks, module._forward_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        for module, (before, after) in zip(modules, hooks, strict=True):
            module._forward_pre_hooks, module._forward_hooks = before, after
