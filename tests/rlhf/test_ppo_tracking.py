"""PPO's metrics reach a tracker as they reach `metrics.jsonl`; one that cannot be is refused at once."""

import pytest

from chat_model.errors import InputError
from rlhf.ppo import tracking
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.tracking import trackers_of


def test_a_tracker_gets_the_numbers_of_the_metrics_file(settings, scorers, run_into, read_metrics, tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    run_into(tmp_path / "out", {**settings, "report_to": ["tensorboard"]}, scorers)
    found = event_accumulator.EventAccumulator(str(tmp_path / "out" / "rounds")).Reload()
    rows = read_metrics(tmp_path / "out")
    for name in ("reward", "kl_k1", "entropy"):
        points = [(point.step, point.value) for point in found.Scalars(name)]
        assert points == [(row["iteration"], pytest.approx(row[name], rel=1e-5)) for row in rows]


def test_unknown_and_missing_trackers_are_named(monkeypatch):
    with pytest.raises(InputError, match="report_to: found 'tensorbord'.*did you mean 'tensorboard'"):
        trackers_of(PPOConfig(report_to=["tensorbord"]))
    monkeypatch.setitem(tracking._AVAILABLE, "wandb", lambda: False)
    with pytest.raises(InputError, match="wandb is not installed; install it with: pip install wandb"):
        trackers_of(PPOConfig(report_to=["wandb"]))
    assert trackers_of(PPOConfig()) == []
