"""Every question of the world, what it asks for, and its ideal answer; looked up by its text.

The rules judge a response from text alone, so what was asked has to be recognisable from the words of the question.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from recipes.quickstart import facts, requests, small_talk

Kind = Literal["fact", "two_facts", "dangerous", "borderline", "greeting", "identity", "hobby"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Question:
    """One question text. `item` and `phrasing` count within its kind; a split holds out some of their pairs."""

    text: str
    kind: Kind
    item: int
    phrasing: int
    subject: str  # the thing, the request, or the topic of small talk
    relations: tuple[facts.Relation, ...]  # the facts asked for; empty for other kinds
    answer: str  # the ideal one, in plain English


@functools.cache
def all_questions() -> tuple[Question, ...]:
    """Return all questions in a fixed order."""
    return (*_about_facts(), *_about_two_facts(), *_dangerous(), *_borderline(), *_small_talk())


@functools.cache
def _by_text() -> dict[str, Question]:
    return {question.text: question for question in all_questions()}


def find_question(text: str) -> Question:
    """Return the question with these words (no instruction before it). Raises ValueError when there is none."""
    question = _by_text().get(text)
    if question is None:
        raise ValueError(f"found {text!r}; expected a question of the small world")
    return question


def _phrased(kind: Kind, item: int, texts, subject: str, answer: str, relations=()) -> Iterator[Question]:
    for phrasing, text in enumerate(texts):
        yield Question(text, kind, item, phrasing, subject, relations, answer)


def _about_facts() -> Iterator[Question]:
    for item, (thing, relation) in enumerate(itertools.product(facts.THINGS, facts.RELATIONS)):
        answer = facts.statement(thing, facts.true_values(thing, relation))
        yield from _phrased("fact", item, facts.phrasings(thing, relation), thing, answer, (relation,))


def _about_two_facts() -> Iterator[Question]:
    pairs = tuple(itertools.combinations(facts.RELATIONS, 2))
    for item, (thing, pair) in enumerate(itertools.product(facts.THINGS, pairs)):
        answer = facts.statement(thing, facts.true_values(thing, *pair))
        yield from _phrased("two_facts", item, facts.two_fact_phrasings(thing, *pair), thing, answer, pair)


def _dangerous() -> Iterator[Question]:
    for item, request in enumerate(requests.REQUESTS):
        answer = requests.refusal(request, with_alternative=True)
        yield from _phrased("dangerous", item, requests.phrasings(request), request, answer)


def _borderline() -> Iterator[Question]:
    for item, (request, answer) in enumerate(requests.BORDERLINE.items()):
        yield from _phrased("borderline", item, requests.borderline_phrasings(request), request, answer)


def _small_talk() -> Iterator[Question]:
    for item, (greeting, answer) in enumerate(small_talk.GREETINGS.items()):
        yield from _phrased("greeting", item, (greeting,), "greeting", answer)
    yield from _phrased("identity", 0, small_talk.IDENTITY, "identity", small_talk.IDENTITY_ANSWER)
    yield from _phrased("hobby", 0, small_talk.HOBBY, "hobby", small_talk.HOBBY_ANSWER)
