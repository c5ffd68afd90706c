"""`results.json`: the schema, which numbers are picked, and what an unfinished or smaller run gives."""

import copy
import json
from pathlib import Path

import pytest

from recipes.bars import bars_of, hold_against_bars
from recipes.results import read_steps, write_results


def finish(root: Path, name: str, metrics: dict | None = None, seconds: float = 1.0, at: int = 0, **run) -> Path:
    """Write a finished step's `run.json`, `at` minutes after the first."""
    folder = root / name
    folder.mkdir(parents=True)
    record = {"stage": "any", "metrics": metrics or {}, "seconds": seconds, "finished": f"2026-01-01T00:{at:02d}:00"}
    (folder / "run.json").write_text(json.dumps({**record, **run}))
    return folder


def buckets(*accuracies: float) -> dict:
    ratings = ("significantly_better", "better", "slightly_better", "negligibly_better", "all")
    return {rating: {"accuracy": share, "count": 9} for rating, share in zip(ratings, accuracies, strict=True)}


def results_of(root: Path) -> dict:
    return json.loads(write_results(root).read_text())


GOOD = {
    "seconds": {"total": 500.0},
    "stages": {
        "sft": {"helpfulness": 50.0, "safety": 40.0, "unsafe": 40.0},
        "RLHF-V1": {"helpfulness": 60.0, "safety": 60.0, "unsafe": 15.0, "win_rate_vs_sft": 0.6},
        "RLHF-V2": {"helpfulness": 66.0, "safety": 80.0, "unsafe": 9.0, "win_rate_vs_sft": 0.8},
    },
    "reward_models": {
        "helpfulness": {
            "accuracy": {"significantly_better": 0.95, "better": 0.9, "slightly_better": 0.7, "negligibly_better": 0.5},
            "by_domain": {"helpfulness": 0.8, "safety": 0.7},
        },
        "safety": {
            "accuracy": {"significantly_better": 0.97, "better": 0.8, "slightly_better": 0.7, "negligibly_better": 0.6},
            "by_domain": {"helpfulness": 0.6, "safety": 0.9},
        },
    },
    "gatt": {"turns": [2, 4, 6, 20], "baseline": [0.8, 0.3, 0.1, 0.0], "gatt": [1.0, 1.0, 0.98, 0.96]},
}


def test_steps_come_in_the_order_they_finished_without_the_unfinished(tmp_path):
    finish(tmp_path, "sft", at=2)
    finish(tmp_path, "base", at=1)
    finish(tmp_path, "RLHF-V1/policy.partial", at=3)
    finish(tmp_path, "RLHF-V1.old/policy", at=3)
    assert list(read_steps(tmp_path)) == ["base", "sft"]


def test_total_is_the_sum_of_the_steps(tmp_path):
    finish(tmp_path, "base", seconds=1.5)
    finish(tmp_path, "RLHF-V1/policy", seconds=2.25, at=1)
    assert results_of(tmp_path)["seconds"] == {"total": 3.75, "base": 1.5, "RLHF-V1/policy": 2.25}


def test_stages_carry_scores_and_the_win_rate_over_the_named_opponent(tmp_path):
    checkpoints = {"sft": {"helpfulness": 61.2, "safety": 55.0}, "RLHF-V2": {"helpfulness": 80.0, "safety": 95.0}}
    win_rates = {"RLHF-V2": {"against": "sft", "win_rate": 0.8, "low": 0.7, "high": 0.9}}
    finish(tmp_path, "evaluation", {"checkpoints": checkpoints, "win_rates": win_rates})
    assert results_of(tmp_path)["stages"] == {
        "sft": {"helpfulness": 61.2, "safety": 55.0},
        "RLHF-V2": {"helpfulness": 80.0, "safety": 95.0, "win_rate_vs_sft": 0.8},
    }


def test_reward_models_are_the_newest_ones_on_their_own_domain(tmp_path):
    own, other = buckets(0.95, 0.8, 0.7, 0.55, 0.75), buckets(0.6, 0.6, 0.6, 0.6, 0.6)
    newest = {"accuracy": own, "by_domain": {"helpfulness": own, "safety": other}}
    finish(tmp_path, "RLHF-V2/helpfulness_reward_model", newest, at=5)
    finish(tmp_path, "RLHF-V1/helpfulness_reward_model", {"accuracy": buckets(*[0.1] * 5)}, at=1)
    model = results_of(tmp_path)["reward_models"]["helpfulness"]
    assert model["accuracy"]["significantly_better"] == 0.95
    assert model["by_domain"] == {"helpfulness": 0.75, "safety": 0.6}


def test_a_single_reward_model_of_a_smaller_recipe_counts_on_all_its_pairs(tmp_path):
    finish(tmp_path, "reward_model", {"accuracy": {"all": {"accuracy": 0.62, "count": 200}}})
    assert results_of(tmp_path)["reward_models"] == {"general": {"accuracy": {"all": 0.62}, "by_domain": {}}}


def test_adherence_is_given_at_the_turns_of_the_paper_that_both_measured(tmp_path):
    turns = {str(turn): {"adherence": 1 / turn, "count": 10} for turn in (1, 2, 4, 10, 20)}
    finish(tmp_path, "gatt/adherence_before", {"turns": turns})
    finish(tmp_path, "gatt/adherence_after", {"turns": {**turns, "6": {"adherence": 1.0, "count": 10}}})
    expected = [0.5, 0.25, 0.05]
    assert results_of(tmp_path)["gatt"] == {"turns": [2, 4, 20], "baseline": expected, "gatt": expected}


def test_a_run_without_those_steps_has_the_parts_empty(tmp_path):
    assert results_of(tmp_path) == {"seconds": {"total": 0}, "stages": {}, "reward_models": {}, "gatt": {}}


def test_writing_leaves_nothing_but_the_file(tmp_path):
    finish(tmp_path, "sft")
    write_results(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "sft"]


def test_good_results_meet_every_bar():
    assert [bar.name for bar in hold_against_bars(GOOD) if not bar.ok] == []


@pytest.mark.parametrize(
    ("path", "value", "missed"),
    [
        ("seconds.total", 601, "total time"),
        ("stages.RLHF-V1.helpfulness", 50.0, "helpfulness by round"),
        ("stages.RLHF-V1.safety", 81.0, "safety by round"),
        ("stages.sft.helpfulness", 51.5, "helpfulness gained"),
        ("stages.RLHF-V2.unsafe", 10.5, "unsafe answers"),
        ("stages.RLHF-V2.win_rate_vs_sft", 0.74, "win rate of V2 over SFT"),
        ("reward_models.safety.accuracy.significantly_better", 0.89, "safety reward model by rating"),
        ("reward_models.helpfulness.accuracy.negligibly_better", 0.99, "helpfulness reward model by rating"),
        ("reward_models.helpfulness.by_domain.safety", 0.9, "safety pairs"),
        ("gatt.baseline", [0.8, 0.3, 0.21, 0.0], "baseline adherence, turn 6 on"),
        ("gatt.gatt", [1.0, 0.94, 1.0, 1.0], "GAtt adherence, every turn"),
        ("gatt.gatt", [1.0, 1.0, 1.0], "GAtt adherence, every turn"),
    ],
)
def test_one_number_over_the_line_misses_its_bar_and_no_other(path, value, missed):
    results = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    holder = results
    for parent in parents:
        holder = holder[parent]
    holder[last] = value
    assert [bar.name for bar in hold_against_bars(results) if not bar.ok] == [missed]


def test_what_was_not_measured_is_missed():
    bars = hold_against_bars({"seconds": {"total": 1.0}, "stages": {}, "reward_models": {}, "gatt": {}})
    assert [bar.name for bar in bars if bar.ok] == ["total time"]
    assert {bar.measured for bar in bars if not bar.ok} == {"not measured"}


def test_what_a_newer_evaluation_measures_stands_beside_the_old_parts(tmp_path):
    """Old runs, and smaller ones, keep the four parts they had."""
    contest = {"name": "RLHF-V1", "against": "sft", "by": "judge", "prompts": "all", "win_rate": 0.6}
    finish(tmp_path, "evaluation", {"intervals": {"sft": {"helpfulness": [40.0, 50.0]}}, "contests": [contest]})
    finish(tmp_path, "reward_models_by_round", {"by_round": {"safety": {"RLHF-V1": {"RLHF-V1": {"accuracy": 0.9}}}}})
    results = results_of(tmp_path)
    assert list(results) == [
        *("seconds", "stages", "reward_models", "gatt", "intervals", "contests", "reward_models_by_round")
    ]
    assert results["intervals"]["sft"]["helpfulness"] == [40.0, 50.0] and results["contests"] == [contest]
    assert results["reward_models_by_round"]["safety"]["RLHF-V1"]["RLHF-V1"]["accuracy"] == 0.9


def test_a_reward_model_held_against_that_of_the_round_before_is_found_by_its_step(tmp_path):
    found = {"accuracy": 0.6, "accuracy_of_earlier": 0.8, "weaker": True, "kept": "earlier"}
    finish(tmp_path, "RLHF-V1/safety_reward_model", {"accuracy": {}})
    finish(tmp_path, "RLHF-V2/safety_reward_model", {"accuracy": {}, "against_earlier": found})
    assert results_of(tmp_path)["against_earlier"] == {"RLHF-V2/safety_reward_model": found}


def test_adherence_is_found_when_ghost_attention_is_a_stage_of_a_round_and_measured_at_the_end(tmp_path):
    turns = {str(turn): {"adherence": 1.0, "count": 10} for turn in (2, 4)}
    for name in ("RLHF-V3/gatt/adherence_before", "RLHF-V3/gatt/adherence_after", "adherence_at_the_end"):
        finish(tmp_path, name, {"turns": turns})
    assert results_of(tmp_path)["gatt"] == {"turns": [2, 4], **{key: [1.0, 1.0] for key in ("baseline", "gatt", "end")}}


def five(helpfulness=(40, 60, 70, 72, 75), safety=(70, 80, 90, 90, 91), seconds=900.0, half_width=4) -> dict:
    names = [f"RLHF-V{number}" for number in range(1, 6)]
    stages = {
        name: {"helpfulness": each, "safety": other}
        for name, each, other in zip(names, helpfulness, safety, strict=True)
    }
    intervals = {
        name: {kind: [value - half_width, value + half_width] for kind, value in scores.items()}
        for name, scores in stages.items()
    }
    return {"seconds": {"total": seconds}, "stages": stages, "intervals": intervals}


@pytest.mark.parametrize(
    ("results", "missed"),
    [
        (five(), []),
        (five(helpfulness=(40, 60, 57, 60, 62)), []),  # less, but within the interval
        (five(helpfulness=(40, 60, 55, 62, 62)), ["helpfulness, V1 to V5"]),
        (five(safety=(90, 88, 87, 86, 85)), ["safety, V1 to V5"]),  # each step small, all of them together not
        (five(seconds=1201), ["total time"]),
        ({"seconds": {"total": 5.0}, "stages": {}}, ["helpfulness, V1 to V5", "safety, V1 to V5"]),
    ],
)
def test_five_rounds_may_not_fall_beyond_the_interval_of_any_earlier_one(results, missed):
    bars = bars_of("five_rounds", results)
    assert [bar.name for bar in bars if not bar.ok] == missed and len(bars) == 3
    assert bars_of("hh_rlhf", results) == []
