"""A toy set of constraints with a checker, and the module under which YAML files name that checker."""

import random
import sys
import types

import pytest

from gatt.constraints import Combination, Constraint

CHECKER = "toy_checkers.follows"


def toy_follows(kind: str, value: str, question: str, response: str) -> bool | None:
    """A hobby is put to the test by a question that says "hobby"; anything else by every question."""
    if kind == "hobby" and "hobby" not in question:
        return None
    return value in response


def _raises(kind, value, question, response):
    raise KeyError(value)


@pytest.fixture(autouse=True)
def toy_checkers(monkeypatch):
    module = types.ModuleType("toy_checkers")
    module.follows, module.raises, module.says_yes = toy_follows, _raises, lambda *given: "yes"
    monkeypatch.setitem(sys.modules, "toy_checkers", module)


@pytest.fixture
def figure() -> Constraint:
    verbose = ("act as napoleon.", "you are napoleon.")
    return Constraint("figure", "napoleon", verbose, "figure: napoleon.", ("who are you?",), CHECKER)


@pytest.fixture
def hobby() -> Constraint:
    return Constraint("hobby", "tennis", ("you enjoy tennis.",), "hobby: tennis.", ("what is your hobby?",), CHECKER)


@pytest.fixture
def both(figure, hobby) -> Combination:
    return Combination((figure, hobby))


@pytest.fixture
def rng() -> random.Random:
    return random.Random(0)
