"""The evaluation as a command, on a tiny reward model: what it writes, that it calibrates, and what it refuses."""

import json
import random
import shutil

import pytest
import torch
from PIL import Image

from chat_model.conversation import Message, PreferencePair
from chat_model.errors import InputError
from chat_model.rows import write_rows
from reward_model.evaluate.__main__ import main
from reward_model.evaluate.calibrate import halves
from reward_model.evaluate.plots import draw_all
from reward_model.evaluate.scored_pairs import score_pairs
from reward_model.mixing import hold_out, opening
from reward_model.scoring import RewardScorer, reads_as_safety

PLOTS = ("accuracy", "reliability", "scores", "length", "safety_thresholds")


def make_pairs(count, seed=0):
    """Pairs of both domains, the helpfulness ones without safety labels."""
    rng = random.Random(seed)
    words = ["red", "lives", "color", "forest", "pirate", "hello", "fox", "owl"]
    pairs = []
    for index in range(count):
        prompt = (Message("user", f"question {index}?"),)
        texts = [" ".join([*rng.choices(words, k=rng.randint(1, 9)), str(number)]) for number in (1, 2)]
        domain = ("helpfulness", "safety")[index % 2]
        safe = (True, rng.random() < 0.3) if domain == "safety" else (None, None)
        answers = [(Message("assistant", text),) for text in texts]
        pairs.append(PreferencePair(prompt, *answers, rng.choice(["better", "slightly_better"]), domain, *safe))
    return pairs


@pytest.fixture
def preferences(tmp_path):
    unsafe_chosen = make_pairs(2, seed=5)[1].to_row() | {"chosen_safe": False, "rejected_safe": True}
    file = tmp_path / "preferences.jsonl"
    write_rows(file, [*(pair.to_row() for pair in make_pairs(80)), unsafe_chosen])
    return file


@pytest.fixture
def checkpoint(tiny_reward_checkpoint, tmp_path):
    """A reward model whose scores are spread out, so that a calibration has something to do."""
    folder = shutil.copytree(tiny_reward_checkpoint, tmp_path / "rm")
    from chat_model.loading import load_scalar_model

    model = load_scalar_model(folder)
    with torch.no_grad():
        model.score.weight.mul_(20)
    model.save_pretrained(folder)
    return folder


def evaluate_into(output, checkpoint, preferences, *options):
    main([f"--model={checkpoint}", "--preferences", str(preferences), f"--output_dir={output}", *options])
    return json.loads((output / "evaluation.json").read_text()), json.loads((output / "run.json").read_text())


def test_everything_is_written_and_agrees_with_the_scores(checkpoint, preferences, tmp_path):
    evaluation, record = evaluate_into(tmp_path / "out", checkpoint, preferences, "--domain", "safety")
    dropped = {"dropped_contradictory_labels": 0, "dropped_unsafe_chosen": 1}
    assert record["counts"] == {"read": 81, **dropped, "not_held_out": 0}
    pairs = make_pairs(80)
    scored = score_pairs(pairs, RewardScorer.from_checkpoint(checkpoint, device="cpu"))
    own = [gap > 0 for pair, gap in zip(pairs, scored.gaps, strict=True) if pair.domain == "safety"]
    assert evaluation["accuracy"]["all"]["accuracy"] == sum(own) / len(own)
    assert record["metrics"]["accuracy"] == evaluation["accuracy"]
    assert record["metrics"]["by_domain"].keys() == {"helpfulness", "safety"}
    assert sum(row["count"] for row in evaluation["breakdown"]) == 80
    assert sum(evaluation["scores"]["chosen"]["counts"]) == 40
    assert evaluation["safety"]["answers"] == 80
    for name in PLOTS:
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            colours = image.convert("RGB").getcolors(maxcolors=2**24)
        assert len(colours) > 10, f"{name}.png is empty"


def test_a_plot_is_left_out_where_there_are_no_labels(checkpoint, tmp_path):
    file = tmp_path / "helpfulness.jsonl"
    write_rows(file, [pair.to_row() for pair in make_pairs(20) if pair.domain == "helpfulness"])
    evaluation, _ = evaluate_into(tmp_path / "out", checkpoint, file)
    assert evaluation["safety"] is None
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == set(PLOTS) - {"safety_thresholds"}
    evaluate_into(tmp_path / "plain", checkpoint, file, "--plots", "false")
    assert list((tmp_path / "plain").glob("*.png")) == []


def test_plots_take_an_evaluation_of_a_single_pair(tmp_path):
    import numpy as np

    from reward_model.evaluate.measures import measure
    from reward_model.evaluate.scored_pairs import ScoredPairs

    pair = make_pairs(2)[1]
    one = ScoredPairs([pair], (np.array([1.0]), np.array([1.0])), (np.array([4.0]), np.array([4.0])))
    assert len(draw_all(measure(one), tmp_path)) == 5


def test_answers_with_contradictory_safety_labels_are_left_out_and_counted(checkpoint, tmp_path):
    """As training does; either label would make the model's detection of unsafe answers look wrong."""
    pairs = [pair.to_row() for pair in make_pairs(20)]
    write_rows(tmp_path / "pairs.jsonl", [*pairs, pairs[1] | {"chosen_safe": False, "rejected_safe": False}])
    evaluation, record = evaluate_into(tmp_path / "out", checkpoint, tmp_path / "pairs.jsonl", "--plots", "false")
    assert record["counts"]["dropped_contradictory_labels"] == 2
    assert evaluation["safety"]["answers"] == 18


def test_a_second_evaluation_finds_every_score(checkpoint, preferences, tmp_path, monkeypatch):
    options = (f"--score_cache={tmp_path / 'scores'}", "--plots", "false")
    first, _ = evaluate_into(tmp_path / "first", checkpoint, preferences, *options)
    monkeypatch.setattr(RewardScorer, "_score_batch", lambda *_: pytest.fail("scored again"))
    second, record = evaluate_into(tmp_path / "second", checkpoint, preferences, *options)
    assert second == first
    assert str(tmp_path / "scores") not in record["inputs"]


def test_test_share_is_what_training_held_out(checkpoint, preferences, tmp_path):
    _, record = evaluate_into(tmp_path / "out", checkpoint, preferences, "--test_share=0.4", "--seed=3")
    trained_on, held_out = hold_out(make_pairs(80), lambda pair: opening(pair.prompt), 0.4, 3)
    assert record["counts"]["not_held_out"] == len(trained_on)
    assert record["metrics"]["by_domain"]["safety"]["all"]["count"] == sum(pair.domain == "safety" for pair in held_out)


def test_calibration_is_stored_and_lowers_the_error_on_the_other_half(checkpoint, preferences, tmp_path):
    model = RewardScorer.from_checkpoint(checkpoint, device="cpu")
    pairs = make_pairs(80)
    raw = model.score([pair.prompt + answer for pair in pairs for answer in (pair.chosen, pair.rejected)])
    # Labels that the scores predict, with an origin elsewhere than at 0, as a ranking loss leaves it.
    is_safe = (raw > raw.mean() + 0.5 * raw.std()).view(-1, 2).tolist()
    rows = [
        pair.to_row() | {"chosen_safe": chosen, "rejected_safe": rejected}
        for pair, (chosen, rejected) in zip(pairs, is_safe, strict=True)
        if chosen or not rejected
    ]
    write_rows(preferences, rows)
    _, record = evaluate_into(tmp_path / "out", checkpoint, preferences, "--calibrate_on", "safety_labels")
    calibration = record["metrics"]["calibration"]
    assert calibration["error_after"] < calibration["error_before"] - 0.1
    assert record["counts"]["calibrated_on"] + record["counts"]["evaluated"] == len(rows)
    assert reads_as_safety(checkpoint)
    calibrated = RewardScorer.from_checkpoint(checkpoint, device="cpu").score([pairs[0].prompt + pairs[0].chosen])
    assert calibrated.item() == pytest.approx(calibration["scale"] * raw[0].item() + calibration["offset"], rel=1e-4)
    again, _ = evaluate_into(tmp_path / "again", checkpoint, preferences)
    assert again["safety"]["calibration"]["expected_calibration_error"] < calibration["error_before"]


def test_halves_keep_a_prompt_together_and_are_not_the_trainings_split():
    class ZeroScorer:
        def score(self, conversations, across_processes=False, description=None):
            return torch.zeros(len(conversations))

        def tokenizer(self, texts, add_special_tokens):
            return {"input_ids": [[0]] * len(texts)}

    pairs = make_pairs(300)
    _, held_out = hold_out(pairs, lambda pair: opening(pair.prompt), 0.3, 0)
    fitted_on, judged_on = halves(score_pairs([*held_out, *held_out], ZeroScorer()), 0)
    openings = [{opening(pair.prompt) for pair in half.pairs} for half in (fitted_on, judged_on)]
    assert not openings[0] & openings[1]
    assert min(map(len, openings)) > len(held_out) / 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "{chat}"], "no trained reward model"),
        (["--safety_threshold", "1.5"], "safety_threshold: found 1.5"),
        (["--domane", "safety"], "unknown key 'domane' .did you mean 'domain'"),
        (["--test_share", "0.001"], "no pair is left of 81"),
        (["--calibrate_on", "safety_labels", "--model", "someone/model"], "someone/model is no folder"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(checkpoint, tiny_checkpoint, preferences, tmp_path, options, message):
    options = [option.format(chat=tiny_checkpoint) for option in options]
    with pytest.raises(InputError, match=message):
        evaluate_into(tmp_path / "out", checkpoint, preferences, *options)
    assert not (tmp_path / "out").exists() and not (checkpoint / "calibration.json").exists()


def test_a_domain_without_pairs_is_named(checkpoint, tmp_path):
    file = tmp_path / "helpfulness.jsonl"
    write_rows(file, [pair.to_row() for pair in make_pairs(40) if pair.domain == "helpfulness"])
    with pytest.raises(InputError, match="domain: none of .* pairs is of domain safety"):
        evaluate_into(tmp_path / "out", checkpoint, file, "--domain=safety", "--calibrate_on=preferences")
    assert not (checkpoint / "calibration.json").exists(), "a stage that failed changed the model"
