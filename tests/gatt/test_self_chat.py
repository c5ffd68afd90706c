"""User turns by the model itself: what it sees as either side, and how such dialogues end."""

import json
import random
from collections import Counter

import pytest

from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.rows import read_conversations, read_rows
from gatt.plans import user_turns
from gatt.sampler import ModelSampler
from gatt.synthesize.config import SynthesisConfig
from gatt.synthesize.self_chat import as_user, chat_with_itself
from gatt.synthesize.user_role import draw_roles
from tests.gatt.test_gatt_stages import files, run, synthesize  # noqa: F401 - fixtures


class Scripted:
    """Answers a context by its role and turn; the one told to play "silent" has no second question."""

    def __init__(self, room: int = 100):
        self.calls, self.room = [], room

    def fits(self, messages):
        return len(messages) <= self.room

    def __call__(self, contexts):
        self.calls.append(contexts)
        return [self._reply(messages) for messages in contexts]

    def _reply(self, messages):
        number = len(messages) // 2
        if messages[0].content.startswith("play"):
            return "" if "silent" in messages[0].content and number else f"question {number + 1}"
        return f"answer {number + 1}"


def test_all_dialogues_advance_together_and_the_user_sees_the_roles_exchanged():
    sampler = Scripted()
    dialogues = chat_with_itself(sampler, ["play a", "play b"], 2)
    assert [len(call) for call in sampler.calls] == [2, 2, 2, 2]
    assert sampler.calls[2][1] == [
        Message("user", "play b"),
        Message("assistant", "question 1"),
        Message("user", "answer 1"),
    ]
    assert user_turns(dialogues[0]) == ("question 1", "question 2")
    assert [message.role for message in dialogues[0]] == ["user", "assistant"] * 2
    assert "play" not in str(dialogues)


def test_a_dialogue_ends_before_an_empty_message_and_the_others_go_on():
    sampler = Scripted()
    silent, other = chat_with_itself(sampler, ["play silent", "play b"], 3)
    assert [message.content for message in silent] == ["question 1", "answer 1"]
    assert len(other) == 6 and [len(call) for call in sampler.calls] == [2, 2, 2, 1, 1, 1]


def test_a_full_context_ends_a_dialogue_whole():
    (dialogue,) = chat_with_itself(Scripted(room=4), ["play a"], 5)
    assert [message.role for message in dialogue] == ["user", "assistant"] * 2


def test_nothing_is_sampled_when_every_context_is_full():
    sampler = Scripted(room=0)
    assert chat_with_itself(sampler, ["play a"], 2) == [[]] and not sampler.calls


def test_what_the_user_sees_alternates():
    messages = [Message("user", "hi"), Message("assistant", "hello")]
    assert [message.role for message in as_user("play", messages)] == ["user", "assistant", "user"]


def test_every_topic_is_talked_about_as_often():
    roles = draw_roles("talk about {topic}.", ["a", "b", "c"], 9, random.Random(0))
    assert Counter(roles) == {f"talk about {topic}.": 3 for topic in "abc"}
    assert draw_roles("talk.", [], 2, random.Random(0)) == ["talk.", "talk."]


@pytest.mark.parametrize(
    "settings",
    [
        {"dialogues": None},
        {"dialogues": "a.jsonl", "user_turns": "model"},
        {"user_turns": "model", "user_role": " "},
        {"user_turns": "model", "topics": []},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ValueError, match="dialogues: found|user_role: found"):
        SynthesisConfig("model", "constraints.yaml", **settings)


def settings_of(files, **more):  # noqa: F811
    own = {name: value for name, value in files.items() if name != "dialogues"}
    return {**own, "user_turns": "model", "num_dialogues": 6, "max_new_tokens": 60, "max_turns": 2, **more}


def test_synthesis_asks_what_the_model_asked(tmp_path, files):  # noqa: F811
    output = run(synthesize, tmp_path, settings_of(files))
    asked = {user_turns(each.messages) for each in read_conversations(output / "dialogues.jsonl")}
    for _, row in read_rows(output / "transcripts.jsonl"):
        questions = [message["content"] for message in row["messages"] if message["role"] == "user"]
        plain = tuple(question.removeprefix(f"{row['instruction']} ") for question in questions)
        assert any(each[: len(plain)] == plain for each in asked)
    counts = json.loads((output / "run.json").read_text())["counts"]
    assert counts["self_chats"] == 6 == counts["self_chats_empty"] + len(list(read_rows(output / "dialogues.jsonl")))


def test_a_model_that_asks_nothing_is_said(tmp_path, files, monkeypatch):  # noqa: F811
    monkeypatch.setattr(ModelSampler, "__call__", lambda self, contexts: [""] * len(contexts))
    with pytest.raises(InputError, match="asked nothing as the user"):
        run(synthesize, tmp_path, settings_of(files))
