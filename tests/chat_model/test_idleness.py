"""Seconds by phase, and the warning of an accelerator that waits."""

import json
from types import SimpleNamespace

import pytest

from chat_model import training
from chat_model.idleness import IdleWatch, PhaseClock
from chat_model.stage import StageRun


class Clock:
    """A clock that is set forward by hand."""

    time = 0.0

    def __call__(self):
        return self.time

    def after(self, seconds):
        self.time += seconds


def test_a_phase_lasts_from_the_end_of_the_one_before():
    now = Clock()
    phases = PhaseClock(now)
    for seconds, phase in ((1.0, "data"), (2.0, "step"), (0.5, "data"), (2.5, "step")):
        now.after(seconds)
        phases.close(phase)
    assert phases.take() == {"data": 1.5, "step": 4.5}
    now.after(3.0)
    phases.close("other")
    assert phases.take() == {"other": 3.0}  # since the last taking
    now.after(9.0)
    phases.restart()
    phases.close("data")
    assert phases.take() == {"data": 0.0}


def test_each_phase_that_waits_too_long_is_named_once():
    watch, idle = IdleWatch(), ("data", "other")
    assert watch.look({"data": 9.0, "step": 1.0}, idle) is None  # the first measurement warms up
    assert watch.look({"data": 2.0, "step": 8.0}, idle) is None  # a fifth is not above a fifth
    said = watch.look({"data": 3.0, "step": 6.0, "other": 1.0}, idle)
    assert said.startswith(
        "idle: the accelerator did nothing for 30% of the last 10.0 s (seconds_data); set dataloader_"
    )
    assert watch.look({"data": 3.0, "step": 6.0, "other": 1.0}, idle) is None
    assert "50% of the last 2.0 s (seconds_other); log and save" in watch.look({"step": 1.0, "other": 1.0}, idle)
    assert watch.look({"sample": 9.0, "step": 1.0}, idle) is None  # on the accelerator itself


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A trainer's log on a machine with an accelerator, and the clock that it reads."""
    now = Clock()
    monkeypatch.setattr(training, "on_cpu_only", lambda: False)
    monkeypatch.setattr(training.torch.accelerator, "synchronize", lambda: now.after(1.0))
    log = training.MetricsLog(StageRun(tmp_path))
    log.clock = PhaseClock(now)
    return log, now


def step(log, now, number, data, compute):
    state = SimpleNamespace(is_world_process_zero=True, global_step=number)
    now.after(data)
    log.on_step_begin(None, state, None)
    now.after(compute)
    log.on_step_end(None, state, None)
    log.on_log(None, state, None, logs={"loss": 1.0})
    now.after(0.5)
    log.on_save(None, state, None)


def test_every_log_line_has_its_seconds_and_a_slow_loader_is_told(log, tmp_path):
    log, now = log
    step(log, now, 1, data=5.0, compute=2.0)
    with pytest.warns(UserWarning, match=r"idle: .* 40% of the last 7.5 s \(seconds_data\); set dataloader_num"):
        step(log, now, 2, data=3.0, compute=3.0)
    now.after(50.0)
    log.on_log(None, SimpleNamespace(is_world_process_zero=True, global_step=2), None, logs={"eval_loss": 2.0})
    step(log, now, 3, data=3.0, compute=3.0)  # data was said already, and an evaluation is work
    log.on_log(None, SimpleNamespace(is_world_process_zero=True, global_step=3), None, logs={"train_runtime": 9.0})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[0] == {"step": 1, "loss": 1.0, "seconds_data": 5.0, "seconds_step": 3.0, "seconds_other": 0.0}
    assert rows[1] == {"step": 2, "loss": 1.0, "seconds_data": 3.0, "seconds_step": 4.0, "seconds_other": 0.5}
    assert rows[2] == {"step": 2, "eval_loss": 2.0}
    assert rows[3]["seconds_evaluate"] == 50.0 and rows[3]["seconds_other"] == 0.5
    assert rows[4] == {"step": 3, "train_runtime": 9.0}
    assert len(log.run.metrics["notices"]) == 1
