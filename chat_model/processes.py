"""The processes of this run, as Accelerate knows them: which one this is, and on which device.

On a machine without an accelerator Accelerate has to be told so when its state is first made; otherwise processes that
`torchrun` started on CPUs each believe to be alone, and all of them write.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env

T = TypeVar("T")

# How long a process waits for another one. The main process alone asks a judging model, merges and saves, for hours at
# worst, and after ten minutes NCCL would take it for dead and end the run.
PATIENCE = timedelta(days=1)


def on_cpu_only() -> bool:
    """Return whether to compute on CPUs alone: what `Accelerator` and its state take as ``cpu``.

    So it is on a machine that has nothing else, and where a launch config with ``use_cpu: true`` started the process.
    """
    import torch

    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def this_device() -> tuple[str, int]:
    """Return name and bytes of memory of the first accelerator, or of this machine where it has none."""
    import torch

    if on_cpu_only() or not torch.cuda.is_available():
        return "this machine's CPU", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory


def process_state() -> PartialState:
    """Return Accelerate's state of this process, made for CPUs where there is nothing else."""
    return PartialState(cpu=on_cpu_only(), timeout=PATIENCE)


def leave_process_group() -> str | None:
    """Leave the group of processes and return its backend, or None where this process is in no group.

    A process that ends inside a group of gloo's still runs its threads, and aborts now and then ("terminate called …").
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    backend = distributed.get_backend()
    distributed.destroy_process_group()
    return backend


def from_main_process(produce: Callable[[], T]) -> T:
    """Return what `produce` gives on the main process, to every process; an error of it is raised on all of them."""
    state = process_state()
    if state.num_processes == 1:
        return produce()
    box: list[Any] = [None, None]
    if state.is_main_process:
        try:
            box[0] = produce()
        except Exception as error:  # to be raised everywhere, or the others would wait for ever
            box[1] = error
    content, raised = broadcast_object_list(box)
    if raised is not None:
        raise raised
    return content


def from_every_process(produce: Callable[[], T]) -> list[T]:
    """Return what `produce` gave on each process, in their order; an error of any is raised on all of them."""
    if process_state().num_processes == 1:
        return [produce()]
    try:
        told: tuple[T | None, Exception | None] = (produce(), None)
    except Exception as error:  # to be raised everywhere, or the others would wait for ever
        told = (None, error)
    everyone = gather_object([told])
    for _, raised in everyone:
        if raised is not None:
            raise raised
    return [content for content, _ in everyone]
