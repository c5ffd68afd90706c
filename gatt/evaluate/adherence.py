"""Adherence by turn, as in Table 30: ask for something the instruction settles, and see whether the answer obeys."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chat_model.conversation import Message
from chat_model.intervals import wilson_interval
from gatt.checks import follows
from gatt.dialogue import Dialogue, Plan, Reply, question_of

EMPTY_REPLY = "…"  # stands in the context for an answer of no words, since a message may not be empty


@dataclass(frozen=True)
class Adherence:
    """Share of `count` answers that followed, with its 95 % Wilson interval."""

    adherence: float
    count: int
    low: float
    high: float


def ask_at(plan: Plan, turns: Sequence[int], rng: random.Random) -> Plan:
    """Return `plan` with a question at each of `turns` (from 1) that puts one of its constraints to the test.

    The constraint is drawn at random; one that any question tests keeps the dialogue's own question.
    """
    questions = list(plan.questions)
    for turn in turns:
        constraint = rng.choice(plan.combination.constraints)
        if constraint.ask and turn <= len(questions):
            questions[turn - 1] = rng.choice(constraint.ask)
    return replace(plan, questions=tuple(questions))


def take_first(
    plans: Sequence[Plan], contexts: Sequence[list[Message]], candidates: Sequence[Sequence[str]]
) -> list[Reply | None]:
    """Return the model's first answer to each context with its verdict, whatever it is; an empty one never follows."""
    return [
        _judge(plan, question_of(plan, messages), texts[0])
        for plan, messages, texts in zip(plans, contexts, candidates, strict=True)
    ]


def _judge(plan: Plan, question: str, text: str) -> Reply:
    if not text.strip():
        return Reply(EMPTY_REPLY, follows=False)
    return Reply(text, follows(plan.combination, question, text))


def adherence_by_turn(dialogues: Sequence[Dialogue], turns: Sequence[int]) -> dict[int, Adherence]:
    """Return the adherence at each of `turns` (from 1); turns at which no answer was put to the test are left out."""
    measured = {}
    for turn in sorted(set(turns)):
        replies = [dialogue.replies[turn - 1] for dialogue in dialogues if turn <= len(dialogue.replies)]
        verdicts = [reply.follows for reply in replies if reply.follows is not None]
        if verdicts:
            low, high = wilson_interval(sum(verdicts), len(verdicts))
            measured[turn] = Adherence(sum(verdicts) / len(verdicts), len(verdicts), low, high)
    return measured
