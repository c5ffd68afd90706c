"""Conversations by the column `messages`, as no_robots has it."""

import pytest

from chat_model.errors import InputError
from reward_model.importers.source_row import Unusable
from reward_model.importers.trl_conversations import to_conversation


def row(*said):
    messages = [{"role": role, "content": content} for role, content in said]
    return {"prompt": "q", "prompt_id": "1", "category": "Chat", "messages": messages}


def test_a_dialogue_with_a_system_message_is_kept_whole():
    said = (("system", "You are terse. "), ("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b"))
    messages = to_conversation(row(*said), "x:1").messages
    assert [(each.role, each.content) for each in messages] == [(role, content.strip()) for role, content in said]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([("user", "q"), ("assistant", "a"), ("user", "r")], "no answer at the end"),
        ([], "no answer at the end"),
        ([("user", "q"), ("user", "r")], "roles out of order"),
        ([("user", "q"), ("assistant", " ")], "empty message"),
    ],
)
def test_what_cannot_be_trained_on_is_counted_under_its_reason(said, reason):
    with pytest.raises(Unusable, match=reason):
        to_conversation(row(*said), "x:1")


def test_a_row_of_another_schema_stops_the_import():
    with pytest.raises(InputError, match="x:1: no field 'messages'"):
        to_conversation({"conversations": []}, "x:1")
