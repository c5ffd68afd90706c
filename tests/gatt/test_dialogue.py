"""The turn-by-turn engine, with a scripted model: what is asked when, in how many calls, and how dialogues end."""

import pytest

from chat_model.conversation import Message
from gatt.constraints import Combination
from gatt.dialogue import Plan, Reply, context, hold, question_of, transcript

QUESTIONS = ("q1", "q2", "q3")


@pytest.fixture
def plan(figure) -> Plan:
    return Plan(QUESTIONS, Combination((figure,)), "act as napoleon.")


def take_first(plans, contexts, candidates):
    return [Reply(texts[0]) for texts in candidates]


def said(messages):
    return [(message.role, message.content) for message in messages]


@pytest.mark.parametrize(
    ("instruction_as", "expected"),
    [
        (
            "every_turn",
            [("user", "act as napoleon. q1"), ("assistant", "a1"), ("user", "act as napoleon. q2")],
        ),
        ("prefix", [("user", "act as napoleon. q1"), ("assistant", "a1"), ("user", "q2")]),
        ("system", [("system", "act as napoleon."), ("user", "q1"), ("assistant", "a1"), ("user", "q2")]),
    ],
)
def test_the_instruction_stands_where_asked(plan, instruction_as, expected):
    messages = context(plan, ["a1"], instruction_as)
    assert said(messages) == expected
    assert question_of(plan, messages) == "q2"


def test_open_dialogues_are_sampled_together_in_one_call_a_turn(plan):
    calls = []

    def echo(contexts):
        calls.append([said(messages) for messages in contexts])
        return [f"{turn} {index}" for turn, index in ((len(calls), index) for index in range(len(contexts)))]

    short = Plan(("only",), plan.combination, "x")
    dialogues = hold([plan, short, plan], "prefix", echo, take_first)
    assert [len(call) for call in calls] == [3, 2, 2]
    assert [tuple(reply.text for reply in each.replies) for each in dialogues] == [
        ("1 0", "2 0", "3 0"),
        ("1 1",),
        ("1 2", "2 1", "3 1"),
    ]
    assert [each.ended for each in dialogues] == ["complete"] * 3
    assert calls[2][1] == [
        ("user", "act as napoleon. q1"),
        ("assistant", "1 2"),
        ("user", "q2"),
        ("assistant", "2 1"),
        ("user", "q3"),
    ]


def test_each_context_gets_its_own_k_candidates(plan):
    def three_each(contexts):
        return [f"{index}.{sample}" for index in range(len(contexts)) for sample in range(3)]

    def take_last(plans, contexts, candidates):
        assert all(len(texts) == 3 for texts in candidates)
        return [Reply(texts[-1]) for texts in candidates]

    dialogues = hold([plan, plan], "every_turn", three_each, take_last)
    assert [dialogue.replies[1].text for dialogue in dialogues] == ["0.2", "1.2"]


def test_a_lost_dialogue_keeps_its_earlier_replies_and_is_asked_no_more(plan):
    asked = []

    def echo(contexts):
        asked.append(len(contexts))
        return ["a"] * len(contexts)

    def lose_the_first_at_turn_two(plans, contexts, candidates):
        turn = sum(message.role == "user" for message in contexts[0])
        replies = [Reply("a") for _ in contexts]
        return [None, *replies[1:]] if turn == 2 else replies

    lost, whole = hold([plan, plan], "every_turn", echo, lose_the_first_at_turn_two)
    assert (lost.ended, len(lost.replies), whole.ended, len(whole.replies)) == ("lost", 1, "complete", 3)
    assert asked == [2, 2, 1]


def test_a_full_context_ends_a_dialogue_before_the_model_is_called(plan):
    def never_long(contexts):
        assert all(len(messages) <= 3 for messages in contexts)
        return ["a"] * len(contexts)

    (dialogue,) = hold([plan], "prefix", never_long, take_first, fits=lambda messages: len(messages) <= 3)
    assert (dialogue.ended, len(dialogue.replies)) == ("context_full", 2)


def test_an_instruction_longer_than_the_context_gives_an_empty_transcript(plan):
    (dialogue,) = hold([plan], "system", lambda contexts: 1 / 0, take_first, fits=lambda messages: False)
    assert transcript(dialogue, "system")["messages"] == []
    assert dialogue.ended == "context_full"


def test_a_transcript_says_what_was_asked_for_and_what_came_of_it(plan):
    (dialogue,) = hold([plan], "prefix", lambda contexts: ["a"], lambda *given: [Reply("a", follows=True)])
    row = transcript(dialogue, "prefix")
    assert row["messages"][0] == {"role": "user", "content": "act as napoleon. q1"}
    assert row["messages"][-1] == Message("assistant", "a").to_dict()
    assert row["constraints"] == [{"kind": "figure", "value": "napoleon"}]
    assert (row["instruction"], row["follows"], row["ended"]) == ("act as napoleon.", [True] * 3, "complete")


def test_only_dialogues_without_a_reply_are_sampled_again(plan):
    calls = []

    def count(contexts):
        calls.append(len(contexts))
        return [f"{len(calls)}"] * len(contexts)

    def choose(plans, contexts, candidates):
        """The first context is content with its first reply, the others with the third."""
        return [
            Reply(texts[0]) if index == 0 and len(contexts) == 3 or texts[0] >= "3" else None
            for index, texts in enumerate(candidates)
        ]

    short = Plan(("only",), plan.combination, "x")
    dialogues = hold([short] * 3, "prefix", count, choose, max_attempts=3)
    assert calls == [3, 2, 2]
    assert [each.replies[0].text for each in dialogues] == ["1", "3", "3"]
    assert [each.ended for each in hold([short] * 2, "prefix", count, lambda *_: [None] * 2, max_attempts=4)] == [
        "lost",
        "lost",
    ]
