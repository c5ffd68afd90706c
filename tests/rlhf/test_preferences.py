"""Pairing and annotation of two models' responses, and the stage that collects them."""

import json
import random

import pytest

from chat_model.conversation import Message, Prompt
from chat_model.errors import InputError
from chat_model.rows import read_preferences, read_rows, write_rows
from rlhf.preferences.__main__ import main
from rlhf.preferences.annotation import annotate_pairs, tally
from rlhf.preferences.pairing import Source, pair_responses

PROMPTS = [Prompt((Message("user", f"question {number}"),), is_safety=number % 2 == 0) for number in range(40)]
NEW, OLD = Source("new", 0.9), Source("old", 1.1)


def prefer_longer(prompt, response_a, response_b, rng):
    """The annotator of these tests: the longer response wins, and only short ones are safe."""
    winner = "a" if len(response_a) > len(response_b) else "b"
    safe = {"safe_a": len(response_a) < 12, "safe_b": len(response_b) < 12}
    return {"winner": winner, "rating": "better", **safe, "note": None}


def test_pairs_are_shuffled_and_useless_ones_counted():
    texts = [f"new {number}" for number in range(40)]
    others = ["new 0", "  ", *(f"old {number}" for number in range(2, 40))]
    pairs, dropped = pair_responses(PROMPTS, [(NEW, texts), (OLD, others)], random.Random(0))
    assert dropped == {"dropped_identical": 1, "dropped_empty": 1} and len(pairs) == 38
    shown_first = [pair.source_a for pair in pairs]
    assert 10 < shown_first.count(NEW) < 28
    for pair in pairs:
        assert pair.response_a.startswith(pair.source_a.model) and pair.response_b.startswith(pair.source_b.model)


def test_rows_name_the_winner_its_source_and_its_safety():
    texts = [f"new {number}" for number in range(40)]
    others = [f"old and longer {number}" if number % 4 == 0 else "old" for number in range(40)]
    pairs, _ = pair_responses(PROMPTS, [(NEW, texts), (OLD, others)], random.Random(0))
    rows, counts = annotate_pairs(pairs, prefer_longer, random.Random(0))
    assert counts == {"excluded_unsafe_chosen": 10}, "an unsafe winner over a safe loser is left out"
    for row in rows:
        assert row["chosen_model"] == "new" and row["chosen_temperature"] == 0.9 and row["rejected_model"] == "old"
        assert row["chosen"][0]["content"].startswith("new") and row["chosen_safe"] and row["rejected_safe"]
    domains = tally(rows)["by_domain"]
    assert domains == {"safety": 10, "helpfulness": 20} and tally(rows)["safety_bins"] == {"both_safe": 10}
    assert tally(rows)["by_rating"] == {"better": 30}


def test_annotator_with_an_unknown_rating_is_refused():
    pairs, _ = pair_responses(PROMPTS[:1], [(NEW, ["a"]), (OLD, ["b"])], random.Random(0))
    with pytest.raises(InputError, match="found winner 'a', rating 'superb'"):
        annotate_pairs(pairs, lambda *_: {"winner": "a", "rating": "superb"}, random.Random(0))


@pytest.fixture
def options(tiny_checkpoint, tmp_path):
    write_rows(tmp_path / "prompts.jsonl", (prompt.to_row() for prompt in PROMPTS))
    return [
        f"--model_name_or_path={tiny_checkpoint}",
        f"--prompts={tmp_path / 'prompts.jsonl'}",
        "--annotator=recipes.quickstart.rules.complies",
        f"--output_dir={tmp_path / 'out'}",
        "--max_new_tokens=5",
        "--num_prompts=20",
    ]


def test_the_stage_writes_readable_pairs_and_counts(options, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.quickstart.rules.complies", prefer_longer)
    main(options)
    pairs = read_preferences(tmp_path / "out" / "preferences.jsonl")
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["counts"]
    lost = counts["dropped_identical"] + counts["dropped_empty"] + counts["excluded_unsafe_chosen"]
    assert len(pairs) == counts["pairs"] == 20 - lost and {pair.rating for pair in pairs} == {"better"}
    models = {row["chosen_temperature"] for _, row in read_rows(tmp_path / "out" / "preferences.jsonl")}
    assert models <= {0.9, 1.1}


def test_the_same_variant_twice_is_refused(options):
    with pytest.raises(InputError, match="previous_model: the same checkpoint at the same temperature"):
        main([*options, "--previous_temperature=0.9"])


def test_more_prompts_than_there_are(options):
    with pytest.raises(InputError, match=r"num_prompts: found 50; .* has 40 different prompts"):
        main([*options, "--num_prompts=50"])


def test_unknown_annotator(options):
    with pytest.raises(InputError, match="'no.such.rule' cannot be imported"):
        main([*options, "--annotator=no.such.rule"])
