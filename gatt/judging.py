"""Verdicts on replies: by a constraint's checker where it has one, else by a judge such as a language model.

A judge is any function by dotted name, ``judge(requests: list[JudgeRequest]) -> list[bool | None]``. It gets a turn's
requests in one call, so that it may batch them or send them at once; its answer is None where nothing is put to the
test. On several processes each asks for the dialogues that it holds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chat_model.errors import InputError
from gatt.checks import check
from gatt.constraints import Constraint


@dataclass(frozen=True)
class JudgeRequest:
    """Does `response` to `question` follow `statement`, a constraint's first verbose phrasing?"""

    statement: str
    question: str
    response: str


Judge = Callable[[list[JudgeRequest]], Sequence[bool | None]]


@dataclass(frozen=True)
class Case:
    """A reply, and the constraints that are to be looked for in it."""

    constraints: tuple[Constraint, ...]
    question: str
    response: str


def verdicts(cases: Sequence[Case], judge: Judge | None) -> list[list[tuple[str, bool | None]]]:
    """Return for every case the (kind, verdict) of each constraint; None where nothing could tell.

    Raises:
        InputError: a checker or judge that raises or returns something else than verdicts.
    """
    asked = [
        JudgeRequest(constraint.verbose[0], case.question, case.response)
        for case in cases
        for constraint in case.constraints
        if not constraint.checker
    ]
    judged = iter(_ask(judge, asked) if judge and asked else [None] * len(asked))
    return [
        [
            (each.kind, check(each, case.question, case.response) if each.checker else next(judged))
            for each in case.constraints
        ]
        for case in cases
    ]


def _ask(judge: Judge, requests: list[JudgeRequest]) -> Sequence[bool | None]:
    try:
        answers = list(judge(requests))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"judge raised {type(error).__name__}: {error}, given {len(requests)} requests") from error
    wrong = [answer for answer in answers if answer is not None and not isinstance(answer, bool)]
    if wrong or len(answers) != len(requests):
        found = repr(wrong[0]) if wrong else f"{len(answers)} answers to {len(requests)} requests"
        raise InputError(f"judge returned {found}; expected True, False or None for every request")
    return answers
