"""One model divided among several accelerators (tensor parallelism), for the stages that sample and score.

A 70B model in bf16 is 138 GB, more than most accelerators hold. Where the environment variable
``ROUNDS_TENSOR_PARALLEL`` is 8, every eight processes in a row hold one model together: each of its linear layers is
cut into eight, by PyTorch's tensor parallelism and the plan that transformers has for the architecture. Such processes
are one *replica*: they are given the same work, in the same order, and draw the same tokens. That is a matter of the
machines and not a setting of a stage, because results do not depend on it but for rounding.

The first process of a replica reads the checkpoint and gives the others their parts, so main memory holds it once.
"""

import fnmatch
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from chat_model.engines import TENSOR_PARALLEL
from chat_model.errors import InputError
from chat_model.processes import process_state

T = TypeVar("T")

# transformers' names of what is done to a module. Those that are left whole are small beside the layers.
_STYLES: dict[str, type[ParallelStyle] | None] = {
    "colwise": ColwiseParallel,
    "rowwise": RowwiseParallel,
    "replicated_with_grad_allreduce": None,
    "embedding_rowwise": None,
}
_DIVIDED_SIZES = ("num_attention_heads", "num_key_value_heads", "intermediate_size")


@dataclass(frozen=True)
class Replica:
    """Which copy of a model this process holds, whole or in part."""

    number: int
    count: int
    leads: bool  # the one process of the replica whose results count


ALONE = Replica(0, 1, leads=True)  # of a process that has work of its own


def replica_of(model: Any) -> Replica:
    """Return this process's replica of `model`; of a model that is not divided, each process holds one."""
    state, mesh = process_state(), _mesh_of(model)
    size = mesh.size() if mesh else 1
    index = state.process_index
    return Replica(index // size, state.num_processes // size, leads=index % size == 0)


def load_on_device(load: Callable[..., Any]) -> Any:
    """Return the model that ``load(**options)`` gives, on this process's accelerator, divided if the variable says so.

    Args:
        load: hands `options` on to `chat_model.loading`; there is one, `device_map`, where only the model's shape is
            wanted. Every process calls.

    Raises:
        InputError: a number of processes that cannot hold the model together, or a model that cannot be divided.
    """
    state = process_state()
    size = _size(state.num_processes)
    if size == 1:
        return load().to(state.device)
    mesh = _mesh(state.device.type, state.num_processes // size, size)
    model = load() if mesh.get_local_rank() == 0 else load(device_map="meta")
    divide(model, mesh, state.device)
    return model


def divide(model: Any, mesh: DeviceMesh, device: torch.device) -> None:
    """Divide `model` in place among the processes of `mesh`, the first of which has its weights. Raises InputError."""
    base = model.base_model
    for name, style in plan_of(model, mesh.size()).items():
        for path, module in list(base.named_modules()):
            if fnmatch.fnmatchcase(path, name):
                _make_room(module, device)
                parallelize_module(module, mesh, style())
                module.tensor_parallel_mesh = mesh
    for module in model.modules():
        _copy_from_leader(module._parameters, mesh, device)
        _copy_from_leader(module._buffers, mesh, device)
    model.tie_weights()
    model.tensor_parallel_mesh = mesh


def from_leader(model: Any, content: T) -> T:
    """Return what the first process of this one's replica has for `content`; where none is divided, `content`."""
    mesh = _mesh_of(model)
    if mesh is None:
        return content
    box = [content]
    distributed.broadcast_object_list(box, group=mesh.get_group(), group_src=0)
    return box[0]


def same_tokens(model: Any, tokens: Tensor) -> Tensor:
    """Return the tokens that the first process of this one's replica drew; where none is divided, `tokens`."""
    if (mesh := _mesh_of(model)) is not None:
        distributed.broadcast(tokens, group=mesh.get_group(), group_src=0)
    return tokens


def whole(tensor: Tensor) -> Tensor:
    """Return a weight whole; every process of a replica calls."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def is_divided(module: Any) -> bool:
    """Return whether a model, or a layer of one, is divided."""
    return _mesh_of(module) is not None


@functools.cache
def _mesh(device_type: str, replicas: int, size: int) -> DeviceMesh:
    """Return the mesh of this process's replica; making one makes groups of processes, once for all models."""
    return init_device_mesh(device_type, (replicas, size), mesh_dim_names=("replica", "tensor"))["tensor"]


def _mesh_of(module: Any) -> DeviceMesh | None:
    return getattr(module, "tensor_parallel_mesh", None)


def _size(num_processes: int) -> int:
    """Return how many processes hold a model together."""
    found = os.environ.get(TENSOR_PARALLEL, "1")
    if not found.isdigit() or int(found) < 1:
        raise InputError(f"{TENSOR_PARALLEL}: found {found!r}; expected a whole number, such as 8")
    if num_processes % int(found):
        raise InputError(
            f"{TENSOR_PARALLEL}: found {found} with {num_processes} processes; expected a number that divides them"
        )
    return int(found)


def plan_of(model: Any, size: int) -> dict[str, type[ParallelStyle]]:
    """Return what is done to the modules whose path in the base model is like a pattern, ``{pattern: style}``.

    Raises:
        InputError: an adapter, an architecture without such a plan, or widths that `size` does not divide.
    """
    name = model.config.name_or_path
    if hasattr(model, "peft_config"):
        raise InputError(f"{name}: is an adapter, and {TENSOR_PARALLEL} divides whole models; merge it (rounds merge)")
    plan = getattr(model.base_model.config, "base_model_tp_plan", None)
    if not plan or not set(plan.values()) <= set(_STYLES):
        raise InputError(
            f"{name}: {TENSOR_PARALLEL} has no plan to divide a {type(model).__name__}; leave the variable out"
        )
    sizes = {key: getattr(model.base_model.config, key, size) for key in _DIVIDED_SIZES}
    for key, value in sizes.items():
        if value % size:
            raise InputError(f"{name}: its {key} of {value} cannot be divided by {TENSOR_PARALLEL}={size}")
    return {pattern: style for pattern, named in plan.items() if (style := _STYLES[named]) is not None}


def _make_room(module: nn.Module, device: torch.device) -> None:
    """Give a module that has a shape and no weights room for some, which are about to be overwritten."""
    if any(parameter.is_meta for parameter in module.parameters()):
        module.to_empty(device=device)


def _copy_from_leader(tensors: dict[str, Any], mesh: DeviceMesh, device: torch.device) -> None:
    """Replace what is not divided of a module's parameters or buffers by a copy of the leader's on `device`."""
    for name, tensor in tensors.items():
        if tensor is None or isinstance(tensor, DTensor):
            continue
        copy = torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.detach().to(device)
        distributed.broadcast(copy, group=mesh.get_group(), group_src=0)
        tensors[name] = nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
