"""Which questions are asked under which instruction: dialogues of a file paired with combinations of constraints.

Everything is drawn from a seed alone, so that a plan is the same on any number of processes.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.rows import read_conversations
from gatt.constraints import Combination, instruction
from gatt.dialogue import Plan

Questions = tuple[str, ...]
T = TypeVar("T")


def read_questions(source: str | Path) -> tuple[list[Questions], int]:
    """Read the user turns of every conversation of `source`; return them and how many conversations were left out.

    A conversation with a system message of its own is left out: GAtt's instruction would contradict it.

    Raises:
        InputError: a bad row, or nothing left.
    """
    conversations = read_conversations(source)
    kept = [each for each in conversations if each.messages[0].role != "system"]
    if not kept:
        raise InputError(f"{source}: every conversation has a system message of its own; expected some without")
    return [user_turns(each.messages) for each in kept], len(conversations) - len(kept)


def user_turns(messages: Sequence[Message]) -> Questions:
    """Return what the user says in `messages`."""
    return tuple(message.content for message in messages if message.role == "user")


def pair(
    questions: Sequence[Questions],
    combinations: Sequence[Combination],
    num_dialogues: int,
    max_turns: int,
    seed: int,
    extend: bool = False,
) -> list[Plan]:
    """Return `num_dialogues` plans of at most `max_turns` questions, each with an instruction drawn for it.

    Questions and combinations are gone through in a fresh random order as often as needed, so all occur equally often.
    With `extend`, a dialogue of fewer questions goes on with those of the next ones.
    """
    asked = _cycle_shuffled(questions, random.Random(f"{seed} questions"))
    combined = _cycle_shuffled(combinations, random.Random(f"{seed} combinations"))
    phrase = random.Random(f"{seed} instructions")
    return [
        Plan(_next_questions(asked, max_turns, extend), combination, instruction(combination, phrase))
        for combination in islice(combined, num_dialogues)
    ]


def _next_questions(asked: Iterator[Questions], max_turns: int, extend: bool) -> Questions:
    questions = next(asked)
    while extend and len(questions) < max_turns:
        questions += next(asked)
    return questions[:max_turns]


def _cycle_shuffled(items: Sequence[T], rng: random.Random) -> Iterator[T]:
    while True:
        yield from rng.sample(items, len(items))
