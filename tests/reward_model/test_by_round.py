"""Reward models against the preferences of every round: whose held-out pairs count, and where each number stands."""

import json
import shutil

import pytest

from chat_model.errors import InputError
from reward_model.by_round.__main__ import main
from reward_model.mixing import is_held_out
from reward_model.training_record import read_training


def write_pairs(path, answers, num_pairs=40, domain="helpfulness"):
    """Write pairs in which the first of two answers is chosen, and a safety pair that no helpfulness model counts."""
    rows = [
        {
            "prompt": [{"role": "user", "content": f"question {number}?"}],
            "chosen": [{"role": "assistant", "content": answers[0]}],
            "rejected": [{"role": "assistant", "content": answers[1]}],
            "rating": "better",
            "domain": "safety" if number % 4 == 0 else domain,
        }
        for number in range(num_pairs)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def model(tiny_reward_checkpoint, tmp_path):
    """Return a function that gives a reward model's folder with the record of its training."""

    def make(name, **config):
        folder = tmp_path / name
        shutil.copytree(tiny_reward_checkpoint, folder)
        trained = {"domain": "helpfulness", "test_share": 0.5, "seed": 3, "test_preferences": [], **config}
        (folder / "run.json").write_text(json.dumps({"stage": "reward_model", "config": trained}))
        return str(folder)

    return make


def run(tmp_path, models, model_rounds, preferences, preference_rounds):
    argv = ["--reward_models", *models, "--model_rounds", *model_rounds, f"--output_dir={tmp_path / 'out'}"]
    main([*argv, "--preferences", *preferences, "--preference_rounds", *preference_rounds])
    return json.loads((tmp_path / "out" / "run.json").read_text())


def test_each_round_has_its_own_cell_over_what_was_held_out_of_the_models_domain(model, tmp_path):
    """One model, two rounds whose chosen and rejected answers are swapped: what it ranks right in one, it must not in
    the other. Rows and columns swapped, or all rounds scored as one, would not show that."""
    answers = ("the fox is red.", "the owl lives in the forest.")
    first = write_pairs(tmp_path / "first.jsonl", answers)
    second = write_pairs(tmp_path / "second.jsonl", answers[::-1])
    record = run(tmp_path, [model("rm"), model("rm2")], ["V1", "V2"], [first, second], ["V1", "V2"])
    table = record["metrics"]["by_round"]["helpfulness"]
    assert list(table) == ["V1", "V2"] and table["V1"] == table["V2"]
    shares = [table["V1"][name]["accuracy"] for name in ("V1", "V2")]
    assert sum(shares) == pytest.approx(1.0) and shares[0] != shares[1]
    held_out = sum(is_held_out(f"question {number}?", 0.5, 3) for number in range(40) if number % 4)
    assert table["V1"]["V1"]["count"] == held_out == record["counts"]["held_out_helpfulness"]["V1"]
    by_rating = json.loads((tmp_path / "out" / "by_round.json").read_text())["helpfulness"]["V2"]["V1"]
    assert by_rating["better"] == by_rating["all"] == table["V2"]["V1"]


def test_files_of_one_round_are_one_column_and_a_round_without_pairs_is_none(model, tmp_path):
    answers = ("the fox is red.", "the owl lives in the forest.")
    files = [write_pairs(tmp_path / f"{number}.jsonl", answers) for number in range(2)]
    other = write_pairs(tmp_path / "other.jsonl", answers, domain="safety")
    record = run(tmp_path, [model("rm")], ["V1"], [*files, other], ["V1", "V1", "V2"])
    row = record["metrics"]["by_round"]["helpfulness"]["V1"]
    held_out = sum(is_held_out(f"question {number}?", 0.5, 3) for number in range(40) if number % 4)
    assert list(row) == ["V1"] and row["V1"]["count"] == 2 * held_out


def test_models_without_a_record_of_what_they_held_out_are_refused(model, tiny_reward_checkpoint):
    """A share guessed here would count pairs that the model was trained on."""
    with pytest.raises(InputError, match="no record of a reward model's training"):
        read_training(tiny_reward_checkpoint)
    with pytest.raises(InputError, match="trained with test_preferences"):
        read_training(model("rm", test_preferences=["rows.jsonl"]))


def test_lists_must_go_together(model, tmp_path):
    file = write_pairs(tmp_path / "first.jsonl", ("a", "b"))
    with pytest.raises(InputError, match="model_rounds: found 2 for 1 reward_models"):
        run(tmp_path, [model("rm")], ["V1", "V2"], [file], ["V1"])
