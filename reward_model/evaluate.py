"""Accuracy of a reward model on held-out pairs, per rating and per domain, with 95 % intervals (section 3.2.2).

The paper reports accuracy by rating because the average hides what matters: whether clear cases are told apart.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from chat_model.conversation import DOMAINS, RATINGS, PreferencePair
from chat_model.intervals import wilson_interval
from reward_model.scoring import RewardScorer

UNRATED = "unrated"


def accuracy_by_rating(pairs: Sequence[PreferencePair], gaps: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Return ``{rating: {"accuracy", "count", "low", "high"}}`` for the ratings that occur, and "all".

    Args:
        pairs: held-out pairs; those without a rating are told as "unrated".
        gaps: score(chosen) - score(rejected) of each; a tie counts as wrong.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for pair, gap in zip(pairs, gaps, strict=True):
        right[pair.rating or UNRATED].append(gap > 0)
        right["all"].append(gap > 0)
    return {rating: _accuracy(right[rating]) for rating in (*RATINGS, UNRATED, "all") if rating in right}


def _accuracy(right: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson_interval(sum(right), len(right))
    return {"accuracy": sum(right) / len(right), "count": len(right), "low": low, "high": high}


def evaluate(pairs: Sequence[PreferencePair], scorer: RewardScorer, domain: str = "all") -> dict[str, Any]:
    """Score held-out `pairs`; return ``{"accuracy": by rating, "by_domain": {domain: by rating}}``.

    "accuracy" is over the pairs of the model's own `domain`; "by_domain" is over each domain that occurs.
    """
    chosen = scorer.score([pair.prompt + pair.chosen for pair in pairs])
    rejected = scorer.score([pair.prompt + pair.rejected for pair in pairs])
    gaps = (chosen - rejected).tolist()

    def accuracy_on(wanted: str) -> dict[str, dict[str, Any]]:
        kept = [(pair, gap) for pair, gap in zip(pairs, gaps, strict=True) if wanted in ("all", pair.domain)]
        return accuracy_by_rating([pair for pair, _ in kept], [gap for _, gap in kept])

    found = {pair.domain for pair in pairs}
    return {
        "accuracy": accuracy_on(domain),
        "by_domain": {name: accuracy_on(name) for name in DOMAINS if name in found},
    }
