"""Which device a process takes; what every process made, or the error that one of them met, on all of them."""

import types

import pytest
import torch

from chat_model import processes
from chat_model.errors import InputError


@pytest.fixture
def two_processes(monkeypatch):
    """This process as the first of two; the other gives what the test puts into the list."""
    other = []
    monkeypatch.setattr(processes, "process_state", lambda: types.SimpleNamespace(num_processes=2))
    monkeypatch.setattr(processes, "gather_object", lambda own: [*own, *other])
    return other


def test_contents_come_in_the_order_of_the_processes(two_processes):
    two_processes.append(("second", None))
    assert processes.from_every_process(lambda: "first") == ["first", "second"]


def test_an_error_of_another_process_is_raised_here(two_processes):
    """Without it this process would go on, and wait for ever for one that has ended."""
    two_processes.append((None, InputError("a checker raised")))
    with pytest.raises(InputError, match="a checker raised"):
        processes.from_every_process(lambda: "first")


def test_the_others_hear_of_an_error_before_it_is_raised(two_processes, monkeypatch):
    told = []
    monkeypatch.setattr(processes, "gather_object", lambda own: told.extend(own) or [*own, ("second", None)])
    with pytest.raises(ZeroDivisionError):
        processes.from_every_process(lambda: 1 / 0)
    assert told[0][0] is None and isinstance(told[0][1], ZeroDivisionError)


def test_a_single_process_asks_nobody():
    assert processes.from_every_process(lambda: 3) == [3]


@pytest.mark.parametrize(("asked", "has_gpu", "expected"), [("true", True, True), ("", True, False), ("", False, True)])
def test_a_launch_config_for_the_cpu_keeps_off_the_gpus(asked, has_gpu, expected, monkeypatch):
    """Without it `accelerate: cpu` computes on the GPU of a machine that has one."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", asked or "false")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: has_gpu)
    assert processes.on_cpu_only() is expected
