"""The share of prompts on which one checkpoint beats another, with a bootstrap interval over prompts."""

from collections.abc import Sequence

from chat_model.intervals import bootstrap_interval


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
