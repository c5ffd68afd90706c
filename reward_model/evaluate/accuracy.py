"""Accuracy of a reward model on held-out pairs, by rating, domain and source, with 95 % intervals (section 3.2.2).

The paper reports accuracy by rating because the average hides what matters: whether clear cases are told apart.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from chat_model.conversation import RATINGS, PreferencePair
from chat_model.intervals import Share, share

UNRATED = "unrated"
NONE = "none"  # what a pair without a domain or a source is told under


def accuracy(gaps: Sequence[float]) -> Share:
    """Return the share of gaps above 0 as "accuracy"; a tie counts as wrong."""
    return share(sum(gap > 0 for gap in gaps), len(gaps), "accuracy")


def accuracy_by_rating(pairs: Sequence[PreferencePair], gaps: Sequence[float]) -> dict[str, Share]:
    """Return ``{rating: {"accuracy", "count", "low", "high"}}`` for the ratings that occur, and "all".

    Args:
        pairs: held-out pairs; those without a rating are told as "unrated".
        gaps: score(chosen) - score(rejected) of each; a tie counts as wrong.
    """
    grouped = _group(pairs, gaps, lambda pair: pair.rating or UNRATED)
    grouped["all"] = list(gaps)
    return {rating: accuracy(grouped[rating]) for rating in (*RATINGS, UNRATED, "all") if rating in grouped}


def accuracy_table(pairs: Sequence[PreferencePair], gaps: Sequence[float]) -> list[dict[str, Any]]:
    """Return a row for every rating × domain × source that occurs, with the columns of `accuracy` beside the three."""
    grouped = _group(pairs, gaps, lambda pair: (pair.rating or UNRATED, pair.domain or NONE, pair.source or NONE))
    order = [*RATINGS, UNRATED]
    cells = sorted(grouped, key=lambda cell: (cell[1], cell[2], order.index(cell[0])))
    return [
        {"domain": domain, "source": source, "rating": rating, **accuracy(grouped[rating, domain, source])}
        for rating, domain, source in cells
    ]


def _group(pairs: Sequence[PreferencePair], gaps: Sequence[float], key: Callable) -> dict[Any, list[float]]:
    grouped: dict[Any, list[float]] = defaultdict(list)
    for pair, gap in zip(pairs, gaps, strict=True):
        grouped[key(pair)].append(gap)
    return grouped
