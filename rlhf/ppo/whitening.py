"""Masked moments over the batches of all ranks, and whitening by them.

The paper whitens the final linear scores (section 3.2.3), and common practice the advantages. Both are taken over the
*global* batch: statistics of one rank's share would make the gradient depend on the number of processes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ReduceSum = Callable[[Tensor], Tensor]  # sums a tensor over all ranks

_EPSILON = 1e-8  # added to the variance, so that a constant batch whitens to zeros


def one_process(tensor: Tensor) -> Tensor:
    """Return `tensor`: the sum over ranks when there is only one."""
    return tensor


@dataclass(frozen=True)
class Moments:
    """Mean and (population) variance of the values that count, over all ranks; scalars, fp32."""

    mean: Tensor
    variance: Tensor

    @property
    def std(self) -> Tensor:
        return self.variance.sqrt()


def masked_moments(values: Tensor, mask: Tensor, reduce_sum: ReduceSum = one_process) -> Moments:
    """Return the moments of `values` where `mask`, over all ranks.

    Two passes, because the square of a sum loses the digits that a small variance is made of.

    Args:
        values: any shape.
        mask: bool, of the same shape; True means "counts".
        reduce_sum: sums over ranks.

    Raises:
        ValueError: nothing counts on any rank, or the shapes differ.
    """
    if values.shape != mask.shape:
        raise ValueError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} differ in shape")
    counted = values.float()[mask]
    count, total = reduce_sum(torch.stack([counted.new_tensor(float(counted.numel())), counted.sum()]))
    if count == 0:
        raise ValueError("the mask counts nothing on any rank; moments are undefined")
    mean = total / count
    variance = reduce_sum((counted - mean).square().sum()) / count
    return Moments(mean, variance)


def whiten(values: Tensor, mask: Tensor, moments: Moments) -> Tensor:
    """Return `values` shifted and scaled to mean 0 and variance 1 where `mask`, and 0 elsewhere; fp32."""
    whitened = (values.float() - moments.mean) * (moments.variance + _EPSILON).rsqrt()
    return torch.where(mask, whitened, 0.0)
