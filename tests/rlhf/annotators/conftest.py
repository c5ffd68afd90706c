"""Fixtures of the annotator tests: pairs to compare."""

import pytest

from chat_model.conversation import Message, Prompt
from rlhf.preferences.response_pair import ResponsePair, Source

NEW, OLD = Source("new", 0.9), Source("old", 1.1)


@pytest.fixture
def make_pair():
    """Return a function that makes a pair; its better response says "good" and is a in even pairs, b in odd ones."""

    def make(number: int, is_safety: bool = False) -> ResponsePair:
        texts = (f"good {number}", f"bad {number}")
        a, b = texts if number % 2 == 0 else texts[::-1]
        return ResponsePair(Prompt((Message("user", f"question {number}?"),), is_safety), a, b, NEW, OLD)

    return make


@pytest.fixture
def pairs(make_pair):
    """Six pairs, the last two on safety prompts."""
    return [make_pair(number, is_safety=number >= 4) for number in range(6)]
