"""A new reward model against that of the round before: when it counts as weaker, and what is left in the folder."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trl import ModelConfig

from chat_model.conversation import Message, PreferencePair
from chat_model.errors import InputError
from chat_model.rows import write_rows
from reward_model.__main__ import main
from reward_model.arguments import RewardModelArguments
from reward_model.earlier import chance_of_so_few, check_earlier, compare
from reward_model.evaluate.scored_pairs import ScoredPairs
from reward_model.mixing import is_held_out
from reward_model.scoring import RewardScorer

LEARNING = ["--num_train_epochs=3", "--per_device_train_batch_size=32", "--learning_rate=0.01", "--max_length=128"]
QUIET = ["--save_strategy=no", "--disable_tqdm=true", "--gradient_checkpointing=false", "--test_share=0.3"]
FOX, OWL = "it is the fox", "it is the owl"


def scored(gaps):
    pair = PreferencePair((Message("user", "?"),), (Message("assistant", "a"),), (Message("assistant", "b"),))
    values = np.array(gaps, dtype=float)
    return ScoredPairs([pair] * len(gaps), (values, np.zeros_like(values)), (values, values))


@pytest.mark.parametrize(
    ("gained", "lost", "chance", "weaker"),
    [
        (0, 5, 1 / 32, False),
        (0, 6, 1 / 64, True),
        (1, 7, 9 / 256, False),
        (1, 8, 10 / 512, True),
        (8, 1, 511 / 512, False),
    ],
)
def test_weaker_is_what_an_exact_sign_test_of_the_pairs_that_differ_says(gained, lost, chance, weaker):
    """Ties count as wrong; a hundred pairs on which both agree change nothing."""
    new = scored([1] * gained + [0] * lost + [1, -1] * 50)
    earlier = scored([-1] * gained + [1] * lost + [1, -1] * 50)
    found = compare(new, earlier)
    assert (found["only_new_right"], found["only_earlier_right"]) == (gained, lost)
    assert found["chance"] == pytest.approx(chance) and found["weaker"] is weaker
    assert found["accuracy"] == pytest.approx((50 + gained) / (100 + gained + lost))
    assert found["accuracy_of_earlier"] == pytest.approx((50 + lost) / (100 + gained + lost))


def test_without_pairs_nothing_is_said_to_be_weaker():
    assert compare(scored([]), scored([]))["weaker"] is False
    assert chance_of_so_few(3, 3) == 1.0


def preferences(path, better, worse, count=120):
    rows = (
        PreferencePair(
            (Message("user", f"question {number}?"),),
            (Message("assistant", better),),
            (Message("assistant", worse),),
            "better",
            "helpfulness",
        ).to_row()
        for number in range(count)
    )
    write_rows(path, rows)
    return str(path)


def train(start, output, rows, *options):
    given = [f"--model_name_or_path={start}", f"--output_dir={output}", "--domain=helpfulness", "--preferences", *rows]
    main([*given, *LEARNING, *QUIET, *options])
    return json.loads((output / "run.json").read_text())


@pytest.fixture(scope="module")
def earlier(tiny_checkpoint, tmp_path_factory):
    """A model that prefers the fox, as its annotators did, and the file of their preferences."""
    place = tmp_path_factory.mktemp("earlier")
    rows = preferences(place / "first.jsonl", FOX, OWL)
    record = train(tiny_checkpoint, place / "model", [rows])
    assert record["metrics"]["accuracy"]["all"]["accuracy"] == 1.0 and "against_earlier" not in record["metrics"]
    return place / "model", rows


def weaker(tiny_checkpoint, earlier, output, *options):
    """Train on preferences turned round, and hold the new model against the earlier one."""
    folder, rows = earlier
    spoilt = preferences(output.parent / "spoilt.jsonl", OWL, FOX, 70)
    return train(
        tiny_checkpoint,
        output,
        [spoilt],
        f"--test_preferences={rows}",
        f"--earlier_model={folder}",
        *options,
    )


def test_the_earlier_model_is_kept_where_asked_and_scores_as_it_did(tiny_checkpoint, earlier, tmp_path):
    """Its weights, its calibration, and the evaluation of what is in the folder; the record says so."""
    calibration = {"scale": 2.0, "offset": 1.0, "fitted_on": "safety_labels", "num_labels": 9}
    folder = tmp_path / "calibrated"
    shutil.copytree(earlier[0], folder)
    (folder / "calibration.json").write_text(json.dumps(calibration))
    output = tmp_path / "new"
    with pytest.warns(UserWarning, match="the earlier one is kept"):
        record = weaker(tiny_checkpoint, (folder, earlier[1]), output, "--if_weaker=keep_earlier")
    found = record["metrics"]["against_earlier"]
    assert found["weaker"] and found["kept"] == "earlier"
    assert (found["accuracy"], found["accuracy_of_earlier"], found["count"]) == (0.0, 1.0, 120)
    assert record["metrics"]["accuracy"]["all"]["accuracy"] == 1.0, "of the model that is left"
    theirs, ours = (load_file(each / "model.safetensors") for each in (folder, output))
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert (output / "calibration.json").read_text() == (folder / "calibration.json").read_text()
    text = [[Message("user", "question 1?"), Message("assistant", FOX)]]
    scores = [RewardScorer.from_checkpoint(each).score(text).item() for each in (folder, output)]
    assert scores[0] == scores[1]
    assert "of the round before" in (output / "README.md").read_text()
    assert record["notes"] and "0.0% of 120 held-out pairs" in record["notes"][0]


def test_by_default_the_new_model_stays_and_the_user_is_told(tiny_checkpoint, earlier, tmp_path):
    with pytest.warns(UserWarning, match="0.0% of 120 held-out pairs .* before ranks 100.0%"):
        record = weaker(tiny_checkpoint, earlier, tmp_path / "new")
    assert record["metrics"]["against_earlier"]["kept"] == "new"
    assert record["metrics"]["accuracy"]["all"]["accuracy"] == 0.0


def test_it_can_stop_instead_and_leaves_no_model(tiny_checkpoint, earlier, tmp_path):
    with pytest.raises(InputError, match=r"train it longer .*, or set if_weaker: keep_earlier"):
        weaker(tiny_checkpoint, earlier, tmp_path / "new", "--if_weaker=stop")
    assert not (tmp_path / "new").exists()


def test_a_model_as_good_as_the_earlier_one_stays(tiny_checkpoint, earlier, tmp_path):
    folder, rows = earlier
    options = [f"--earlier_model={folder}", "--if_weaker=keep_earlier"]
    record = train(tiny_checkpoint, tmp_path / "new", [rows], *options)
    found = record["metrics"]["against_earlier"]
    assert found["kept"] == "new" and not found["weaker"] and "notes" not in record
    assert found["count"] == sum(is_held_out(f"question {number}?", 0.3, 42) for number in range(120))


def test_pairs_that_the_earlier_model_was_trained_on_do_not_count(tiny_checkpoint, earlier, tmp_path):
    """It held out other prompts, by another seed: only what both held out is compared."""
    folder, rows = earlier
    record = train(tiny_checkpoint, tmp_path / "new", [rows], f"--earlier_model={folder}", "--seed=7")
    both = [number for number in range(120) if all(is_held_out(f"question {number}?", 0.3, seed) for seed in (7, 42))]
    assert 0 < record["metrics"]["against_earlier"]["count"] == len(both) < record["counts"]["held_out"]


def test_what_could_not_be_obeyed_or_compared_is_refused_before_training(tmp_path):
    keep = RewardModelArguments(["rows.jsonl"], earlier_model=str(tmp_path), if_weaker="keep_earlier")
    with pytest.raises(InputError, match="cannot replace a LoRA adapter"):
        check_earlier(keep, ModelConfig(use_peft=True).use_peft)
    with pytest.raises(InputError, match="no record of a reward model's training"):
        check_earlier(keep, uses_adapter=False)
