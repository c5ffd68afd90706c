"""What best-of-N would give for every N up to K, from one draw of K (Figure 7): exact expectations, no resampling."""

from math import comb

import torch
from torch import Tensor


def reward_by_n(rewards: Tensor) -> dict[str, list[float]]:
    """Return the mean over prompts of the expected maximum, median and mean reward of N samples, N = 1, 2, 4, … K.

    Args:
        rewards: ``[prompts, K]``.
    """
    num_samples = rewards.shape[1]
    sizes = sorted({*(2**power for power in range(num_samples.bit_length()) if 2**power <= num_samples), num_samples})
    ordered = rewards.double().sort(dim=1).values
    return {
        "n": sizes,
        "max": [float(expected_order_statistic(ordered, size, size).mean()) for size in sizes],
        "median": [float(_expected_median(ordered, size).mean()) for size in sizes],
        "mean": [float(rewards.double().mean())] * len(sizes),
    }


def expected_order_statistic(ordered: Tensor, size: int, rank: int) -> Tensor:
    """Return the expected `rank`-th smallest (from 1) of `size` values drawn without replacement from each row.

    Σ_i x_(i) · C(i−1, rank−1) · C(K−i, size−rank) / C(K, size), the unbiased estimate from K samples.

    Args:
        ordered: ``[prompts, K]``, ascending in each row.

    Returns:
        ``[prompts]``.
    """
    total = ordered.shape[1]
    weights = [comb(i - 1, rank - 1) * comb(total - i, size - rank) / comb(total, size) for i in range(1, total + 1)]
    return ordered @ torch.tensor(weights, dtype=ordered.dtype)


def _expected_median(ordered: Tensor, size: int) -> Tensor:
    ranks = {(size + 1) // 2, size // 2 + 1}
    return sum(expected_order_statistic(ordered, size, rank) for rank in ranks) / len(ranks)
