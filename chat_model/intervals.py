"""95 % intervals of what an evaluation reports: shares of successes, and means of any values."""

import math
import random
from collections.abc import Sequence
from typing import Any

_Z_95 = 1.959964  # standard normal quantile at 97.5 %
Share = dict[str, Any]  # {name: share or None where there is nothing to take it of, "count", "low", "high"}


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), within [0, 1] and honest for small counts.

    Unlike the normal interval it is not empty at 0 and 1; it always holds the share itself. No trials: (0, 1).
    """
    if count == 0:
        return 0.0, 1.0
    share, z2 = successes / count, _Z_95**2
    center = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, min(share, center - half)), min(1.0, max(share, center + half))


def share(successes: int, count: int, name: str = "share") -> Share:
    """Return ``{name: successes / count, "count", "low", "high"}`` with the 95 % interval (Wilson 1927)."""
    low, high = wilson_interval(successes, count)
    return {name: successes / count if count else None, "count": count, "low": low, "high": high}


def bootstrap_interval(values: Sequence[float], resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the mean of `values` under resampling with replacement."""
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(resamples))
    return means[int(0.025 * resamples)], means[min(int(0.975 * resamples), resamples - 1)]
