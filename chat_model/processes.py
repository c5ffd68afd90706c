"""The processes of this run, as Accelerate knows them: which one this is, and on which device.

On a machine without an accelerator Accelerate has to be told so when its state is first made; otherwise processes that
`torchrun` started on CPUs each believe to be alone, and all of them write.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def on_cpu_only() -> bool:
    """Return whether this machine has nothing but CPUs: what `Accelerator` and its state take as ``cpu``."""
    import torch

    return not torch.accelerator.is_available()


def this_device() -> tuple[str, int]:
    """Return name and bytes of memory of the first accelerator, or of this machine where it has none."""
    import torch

    if on_cpu_only() or not torch.cuda.is_available():
        return "this machine's CPU", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory


def process_state() -> PartialState:
    """Return Accelerate's state of this process, made for CPUs where there is nothing else."""
    return PartialState(cpu=on_cpu_only())


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
