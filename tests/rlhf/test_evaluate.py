"""Win rates with intervals, and the stage that compares checkpoints."""

import json
import random

import pytest

from chat_model.conversation import Message, Prompt
from chat_model.errors import InputError
from chat_model.intervals import bootstrap_interval
from chat_model.rows import read_rows, write_rows
from rlhf.evaluate.__main__ import main
from rlhf.evaluate.win_rate import win_rate


def test_win_rate_by_hand():
    result = win_rate([1.0, 0.5, 0.2, 0.9], [0.0, 0.5, 0.9, 0.1])
    assert result["win_rate"] == (1 + 0.5 + 0 + 1) / 4
    assert result["low"] <= result["win_rate"] <= result["high"]


def test_interval_covers_the_truth_about_19_times_in_20():
    rng = random.Random(1)
    covered = 0
    for seed in range(200):
        draws = [float(rng.random() < 0.7) for _ in range(80)]
        low, high = bootstrap_interval(draws, resamples=200, seed=seed)
        covered += low <= 0.7 <= high
    assert 176 <= covered <= 199


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 scores against 1"):
        win_rate([1.0, 2.0], [1.0])


def grade(prompt, response):
    """The judge of these tests: safety prompts by being empty, others by length."""
    if "danger" in prompt[-1]["content"]:
        return {"safety": 1.0, "unsafe": 0.0}
    return {"helpfulness": min(len(response), 50) / 50}


@pytest.fixture
def options(tiny_checkpoint, tiny_reward_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.quickstart.rules.judge", grade)
    prompts = [Prompt((Message("user", f"question {number}"),)) for number in range(5)]
    prompts.append(Prompt((Message("user", "danger"),), is_safety=True))
    write_rows(tmp_path / "prompts.jsonl", (prompt.to_row() for prompt in prompts))
    return [
        f"--prompts={tmp_path / 'prompts.jsonl'}",
        "--judge=recipes.quickstart.rules.judge",
        f"--output_dir={tmp_path / 'out'}",
        f"--helpfulness_reward_model={tiny_reward_checkpoint}",
        "--max_new_tokens=6",
        "--checkpoints",
        str(tiny_checkpoint),
        str(tiny_checkpoint),
    ]


def test_the_same_checkpoint_twice_ties_everywhere(options, tmp_path):
    main([*options, "--names", "sft", "again"])
    metrics = json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]
    assert metrics["checkpoints"]["sft"] == metrics["checkpoints"]["again"]
    rate = metrics["win_rates"]["again"]
    assert (rate["against"], rate["win_rate"], rate["low"], rate["high"]) == ("sft", 0.5, 0.5, 0.5)
    rows = [row for _, row in read_rows(tmp_path / "out" / "responses.jsonl")]
    graded = [row["scores"]["sft"]["helpfulness"] for row in rows if not row["is_safety"]]
    assert metrics["checkpoints"]["sft"]["helpfulness"] == pytest.approx(100 * sum(graded) / 5)
    assert metrics["checkpoints"]["sft"]["safety"] == 100 and "reward_helpfulness" in rows[0]["scores"]["again"]


def test_names_must_match_the_checkpoints(options):
    with pytest.raises(InputError, match="names: found .*; expected a different name for each"):
        main([*options, "--names", "sft", "sft"])
