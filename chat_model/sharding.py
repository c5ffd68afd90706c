"""Sharded weights made whole once a rollout.

Sampling runs a model once a token. Under FSDP2 each of those runs would gather every layer's weights from all
processes, which makes sampling 10 to 100 times slower (trl#1900, DeepSpeedExamples#718).
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

    Inside, `part` runs without any communication, so processes need not run it equally often. The hooks of FSDP2 are
    set aside for that: they note the order of forward passes, by which the next backward pass gathers ahead, and would
    wait for each other for ever when one process made more passes than another.

    Args:
        root: the module that was sharded; it may hold weights of `part` that no layer of its own holds.
        part: `root` or a module inside it.
    """
    modules = {id(module): module for module in (root, *part.modules())}.values()
    shards = [module for module in modules if isinstance(module, FSDPModule)]
    if not any(isinstance(weight, DTensor) for weight in part.parameters()):
        shards = []
    hooks = [(shard._forward_pre_hooks, shard._forward_hooks) for shard in shards]
    for shard in shards:
        shard.unshard()
        shard._forward_pre_hooks, shard._forward_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        for shard, (before, after) in zip(shards, hooks, strict=True):
            shard._forward_pre_hooks, shard._forward_hooks = before, after
            shard.reshard()
