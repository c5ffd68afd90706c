"""What is held out: (fact or request, phrasing) pairs of questions, and combinations of constraints.

Every fact, request, phrasing and constraint occurs in training, but no question text of an evaluation does: what is
measured is a known fact asked in a way it was never asked, or known constraints in a company they never kept.
"""

import functools
import itertools
import random
from collections.abc import Sequence
from typing import Literal

from recipes.quickstart import persona
from recipes.quickstart.persona import Combination, Constraint
from recipes.quickstart.questions import Kind, Question, all_questions

Split = Literal["train", "test"]

# kind: (number of phrasings, how many of them are held out for each item)
_HELD_OUT: dict[Kind, tuple[int, int]] = {
    "fact": (6, 1),
    "two_facts": (4, 1),
    "dangerous": (6, 2),
    "borderline": (3, 1),
    "greeting": (1, 0),
    "identity": (6, 2),
    "hobby": (6, 2),
}
_COMBINATION_STRIDE = 5  # one in so many combinations of several constraints is held out


def split_of(question: Question) -> Split:
    """Return which split a question belongs to; the held-out phrasing moves on from item to item."""
    num_phrasings, num_held_out = _HELD_OUT[question.kind]
    # `item` alone would hold out the same phrasings for each relation (items go round by four): hence item // 4.
    position = (question.phrasing + question.item + question.item // 4 + 2) % num_phrasings
    return "test" if position < num_held_out else "train"


@functools.cache
def questions(split: Split, *kinds: Kind) -> tuple[Question, ...]:
    """Return the questions of these kinds in `split`, in a fixed order."""
    return tuple(each for each in all_questions() if each.kind in kinds and split_of(each) == split)


@functools.cache
def combinations(split: Split) -> tuple[Combination, ...]:
    """Return the combinations of one to three constraints, at most one of a kind; single ones are all for training."""
    options: list[Sequence[Constraint | None]] = [
        (None, *(each for each in persona.CONSTRAINTS if each.kind == kind)) for kind in persona.KINDS
    ]
    found = []
    for positions in itertools.product(*(range(len(option)) for option in options)):
        chosen = [option[position] for option, position in zip(options, positions, strict=True)]
        combination = tuple(each for each in chosen if each is not None)
        held_out = len(combination) > 1 and sum(positions) % _COMBINATION_STRIDE == 0
        if combination and held_out == (split == "test"):
            found.append(combination)
    return tuple(found)


@functools.cache
def _combinations_by_kinds(split: Split) -> tuple[tuple[Combination, ...], ...]:
    def kinds(combination: Combination) -> tuple[str, ...]:
        return tuple(each.kind for each in combination)

    return tuple(tuple(group) for _, group in itertools.groupby(sorted(combinations(split), key=kinds), key=kinds))


def draw_combination(rng: random.Random, split: Split) -> Combination:
    """Draw a combination: first which kinds it has (those with the language half as likely), then which values."""
    groups = _combinations_by_kinds(split)
    weights = [0.5 if any(each.kind == "language" for each in group[0]) else 1.0 for group in groups]
    return rng.choice(rng.choices(groups, weights=weights)[0])
