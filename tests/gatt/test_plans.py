"""Pairing of dialogues with combinations: even, seeded, and strict about the dialogues' file."""

import json
from collections import Counter

import pytest

from chat_model.errors import InputError
from gatt.constraints import Combination
from gatt.plans import pair, read_questions


def turns(*roles):
    return {"messages": [{"role": role, "content": f"{role} {index}"} for index, role in enumerate(roles)]}


def write(tmp_path, *rows):
    path = tmp_path / "dialogues.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_only_the_user_turns_are_taken_and_foreign_instructions_left_out(tmp_path):
    path = write(tmp_path, turns("user", "assistant", "user", "assistant"), turns("system", "user", "assistant"))
    assert read_questions(path) == ([("user 0", "user 2")], 1)


def test_nothing_but_foreign_instructions_is_refused(tmp_path):
    with pytest.raises(InputError, match="system message of its own"):
        read_questions(write(tmp_path, turns("system", "user", "assistant")))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (turns("assistant", "user", "assistant"), r"messages\[0\].role': found 'assistant'"),
        (turns("user", "assistant", "user"), r"messages\[2\].role': found 'user'"),
    ],
)
def test_dialogues_that_begin_or_end_on_the_wrong_side_are_refused_by_line(tmp_path, row, complaint):
    with pytest.raises(InputError, match=rf"dialogues.jsonl:2: field '{complaint}"):
        read_questions(write(tmp_path, turns("user", "assistant"), row))


def test_every_dialogue_and_combination_occurs_equally_often(figure, hobby, both):
    questions = [(f"q{index}", "more", "still more") for index in range(6)]
    combinations = [Combination((figure,)), Combination((hobby,)), both]
    plans = pair(questions, combinations, num_dialogues=12, max_turns=2, seed=0)
    assert set(Counter(plan.questions[0] for plan in plans).values()) == {2}
    assert set(Counter(plan.combination for plan in plans).values()) == {4}
    assert {len(plan.questions) for plan in plans} == {2}
    assert len({(plan.questions, plan.combination) for plan in plans}) > 6, "a second pass pairs anew"


def test_plans_hang_on_the_seed_alone(both):
    questions = [(f"q{index}",) for index in range(8)]
    first, again, other = (pair(questions, [both], 8, 1, seed) for seed in (1, 1, 2))
    assert first == again != other
