"""Which device a process takes."""

import pytest
import torch

from chat_model.processes import on_cpu_only


@pytest.mark.parametrize(("asked", "has_gpu", "expected"), [("true", True, True), ("", True, False), ("", False, True)])
def test_a_launch_config_for_the_cpu_keeps_off_the_gpus(asked, has_gpu, expected, monkeypatch):
    """Without it `accelerate: cpu` computes on the GPU of a machine that has one."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", asked or "false")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: has_gpu)
    assert on_cpu_only() is expected
