"""The share of prompts on which one checkpoint beats another, with a bootstrap interval over prompts."""

import random
from collections.abc import Sequence


def win_rate(
    scores: Sequence[float], against: Sequence[float], resamples: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Return ``win_rate`` of `scores` over `against` (pairwise, a tie counts half) and its 95 % interval `low`, `high`.

    Raises:
        ValueError: lists of different length, or empty ones.
    """
    if len(scores) != len(against) or not scores:
        raise ValueError(f"{len(scores)} scores against {len(against)}; expected as many, and at least one")
    wins = [0.5 * (left == right) + (left > right) for left, right in zip(scores, against, strict=True)]
    low, high = bootstrap_interval(wins, resamples, seed)
    return {"win_rate": sum(wins) / len(wins), "low": low, "high": high}


def bootstrap_interval(values: Sequence[float], resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the mean of `values` under resampling with replacement."""
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(resamples))
    return means[int(0.025 * resamples)], means[min(int(0.975 * resamples), resamples - 1)]
