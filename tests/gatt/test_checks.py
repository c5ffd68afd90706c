"""Checkers: their verdicts over a combination, and every way a user's checker can go wrong."""

import random
from dataclasses import replace

import pytest

from chat_model.errors import InputError
from gatt.checks import follows, require_checkers
from gatt.constraints import Combination


@pytest.mark.parametrize(
    ("question", "response", "verdict"),
    [
        ("who are you?", "i am napoleon.", True),
        ("who are you?", "i am a helper.", False),
        ("what is your hobby?", "tennis, says napoleon.", True),
        ("what is your hobby?", "tennis.", False),
        ("what is your hobby?", "says napoleon.", False),
    ],
)
def test_every_constraint_that_is_put_to_the_test_must_hold(both, question, response, verdict):
    assert follows(both, question, response) is verdict


def test_no_verdict_where_nothing_is_put_to_the_test(hobby, figure):
    assert follows(Combination((hobby,)), "who are you?", "tennis") is None
    assert follows(Combination((replace(figure, checker=None),)), "who are you?", "napoleon") is None


def test_constraints_without_checker_are_passed_over(hobby, figure):
    combination = Combination((hobby, replace(figure, checker=None)))
    assert follows(combination, "what is your hobby?", "tennis") is True


@pytest.mark.parametrize(
    ("checker", "complaint"),
    [
        ("toy_checkers.raises", "toy_checkers.raises raised KeyError: 'napoleon'"),
        ("toy_checkers.says_yes", "toy_checkers.says_yes returned 'yes'"),
        ("toy_checkers.missing", "cannot be imported"),
    ],
)
def test_a_faulty_checker_is_named(figure, checker, complaint):
    with pytest.raises(InputError, match=complaint):
        follows(Combination((replace(figure, checker=checker),)), "who are you?", "x")


def test_checkers_are_looked_for_before_anything_is_sampled(figure):
    require_checkers([figure], required=True)
    require_checkers([replace(figure, checker=None)], required=False)
    with pytest.raises(InputError, match="figure 'napoleon': no checker"):
        require_checkers([replace(figure, checker=None)], required=True)
    with pytest.raises(InputError, match="cannot be imported"):
        require_checkers([replace(figure, checker="no.such.checker")], required=False)


def test_verdicts_do_not_depend_on_the_order_of_constraints(both):
    shuffled = Combination(tuple(random.Random(3).sample(both.constraints, 2)))
    for response in ("napoleon", "tennis", "napoleon tennis"):
        assert follows(both, "hobby?", response) == follows(shuffled, "hobby?", response)
