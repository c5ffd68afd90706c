"""Prompts of imported data: each once, tagged by every comparison it stands in, held out as reward models hold out."""

import json

import pytest

from chat_model.conversation import Conversation, Message, PreferencePair
from chat_model.errors import InputError
from chat_model.rows import read_prompts, write_rows
from reward_model.importers.prompts.__main__ import main
from reward_model.mixing import is_held_out


def pair(question, domain, answers=("yes", "no")):
    chosen, rejected = ((Message("assistant", answer),) for answer in answers)
    return PreferencePair((Message("user", question),), chosen, rejected, domain=domain).to_row()


def gather(tmp_path, rows, *words):
    write_rows(tmp_path / "pairs.jsonl", rows)
    main(["--preferences", str(tmp_path / "pairs.jsonl"), "--output_dir", str(tmp_path / "out"), *words])
    sides = {side: read_prompts(tmp_path / "out" / f"{side}.jsonl") for side in ("train", "test")}
    return sides, json.loads((tmp_path / "out" / "run.json").read_text())["counts"]


def test_a_prompt_of_any_safety_comparison_is_a_safety_prompt_and_stands_there_once(tmp_path):
    rows = [pair(f"q{number}", "helpfulness") for number in range(30)]
    rows += [pair("q3", "safety", ("no", "yes")), pair("q3", "helpfulness", ("maybe", "no"))]
    sides, counts = gather(tmp_path, rows)
    tags = {prompt.prompt[0].content: prompt.is_safety for side in sides.values() for prompt in side}
    assert len(tags) == sum(map(len, sides.values())) == 30
    assert [question for question, is_safety in tags.items() if is_safety] == ["q3"]
    assert counts["repeated"] == 2 and counts["train_safety"] + counts["test_safety"] == 1


def test_the_test_prompts_are_those_that_reward_models_hold_out(tmp_path):
    sides, counts = gather(tmp_path, [pair(f"q{number}", "safety") for number in range(60)], "--test_share", "0.2")
    held_out = {f"q{number}" for number in range(60) if is_held_out(f"q{number}", 0.2, 0)}
    assert {prompt.prompt[0].content for prompt in sides["test"]} == held_out
    assert len(sides["train"]) == counts["train"] == 60 - len(held_out)


def test_test_prompts_left_out_are_counted_and_not_trained_on(tmp_path):
    rows = [pair(f"q{number}", "helpfulness") for number in range(60)]
    sides, counts = gather(tmp_path, rows, "--test_share", "0.3", "--num_test", "4")
    assert len(sides["test"]) == 4
    assert counts["train"] + 4 + counts["held_out_not_in_test"] == 60


def test_conversations_give_their_first_question_with_the_system_message(tmp_path):
    said = (("system", "Be brief."), ("user", "q"), ("assistant", "a"), ("user", "more?"), ("assistant", "b"))
    messages = tuple(Message(role, content) for role, content in said)
    write_rows(tmp_path / "chats.jsonl", [Conversation(messages).to_row()])
    words = ["--conversations", str(tmp_path / "chats.jsonl")]
    sides, _ = gather(tmp_path, [pair(f"q{number}", "safety") for number in range(30)], *words)
    found = [prompt for side in sides.values() for prompt in side if prompt.prompt[0].role == "system"]
    assert [(prompt.prompt, prompt.is_safety) for prompt in found] == [(messages[:2], False)]


def test_nothing_to_read_and_a_share_that_holds_out_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match="preferences: found none, and no conversations"):
        main(["--output_dir", str(tmp_path / "out")])
    with pytest.raises(InputError, match="test_share: 0.001 of 1 prompts leaves none for test"):
        gather(tmp_path, [pair("q", "safety")], "--test_share", "0.001")
