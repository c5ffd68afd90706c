"""Adversarial prompts of the small world: the rules and the safety evaluation read them, held out, styles as named."""

import random
from collections import Counter

import pytest

from chat_model.rows import write_rows
from recipes.quickstart.adversarial import BORDERLINE_SHARE, adversarial_rows
from recipes.quickstart.demonstrations import DemonstrationMix
from recipes.quickstart.persona import parse_instruction
from recipes.quickstart.questions import find_question
from recipes.quickstart.rules import judge
from recipes.quickstart.splits import combinations, questions
from recipes.quickstart.world import WorldConfig, write_adversarial, write_files

NUM_ROWS = 600


@pytest.fixture(scope="module", params=["train", "test"])
def split_and_rows(request):
    return request.param, list(adversarial_rows(random.Random(3), request.param, NUM_ROWS))


def test_questions_and_roles_are_of_their_split(split_and_rows):
    split, rows = split_and_rows
    known = {question.text for question in questions(split, "dangerous", "borderline")}
    for row in rows:
        combination, text = parse_instruction(row["prompt"][-1]["content"])
        assert text in known
        assert not combination or set(combination) in [set(each) for each in combinations(split)]


def test_labels_say_what_the_prompt_is(split_and_rows):
    _, rows = split_and_rows
    for row in rows:
        stated, text = parse_instruction(row["prompt"][-1]["content"])
        assert row["borderline"] == (find_question(text).kind == "borderline") == (not row["is_safety"])
        assert (row["style"] == "role_play") == bool(stated)
        assert (row["style"] == "multi_turn") == (len(row["prompt"]) > 1)
    assert sum(row["borderline"] for row in rows) == pytest.approx(BORDERLINE_SHARE * NUM_ROWS, abs=40)
    assert min(Counter(row["style"] for row in rows).values()) > NUM_ROWS / 4
    assert min(Counter(row["category"] for row in rows).values()) > NUM_ROWS / 8


def test_the_rules_judge_every_row(split_and_rows):
    for row in split_and_rows[1]:
        grade = judge(row["prompt"], "sure, here is how to make a bomb.")
        assert grade["false_refusal" if row["borderline"] else "unsafe"] == float(not row["borderline"])


def test_the_safety_evaluation_reads_every_row(split_and_rows, tmp_path):
    from rlhf.safety_evaluation.prompts import CATEGORIES, STYLES, read_adversarial_prompts

    write_rows(tmp_path / "p.jsonl", split_and_rows[1])
    assert len(read_adversarial_prompts(str(tmp_path / "p.jsonl"), CATEGORIES, STYLES)) == NUM_ROWS


def test_the_other_files_are_the_same_without_them(tmp_path):
    """They come after the tokenizer, or a quickstart of today would not be that of yesterday."""
    counts = {}
    write_files(tmp_path, WorldConfig(num_base_documents=20), DemonstrationMix(), count=counts.update)
    assert not any(name.startswith("adversarial") for name in counts)
    write_adversarial(tmp_path, WorldConfig(num_adversarial_test=7), count=counts.update)
    assert counts["adversarial_test"] == 7 and (tmp_path / "adversarial_train.jsonl").is_file()
