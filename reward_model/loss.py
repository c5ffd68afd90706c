"""The losses of a reward model, as pure functions of scores (section 3.2.2, equations 1 and 2).

Scores are raw: r, the output of the linear head, so sigma(r) is the paper's R. The safety loss is taken on that same
scalar, which makes sigma(r) of the safety model a probability that the 0.15 threshold of section 3.2.3 can read.
"""

import torch
from torch import Tensor
from torch.nn import functional


def ranking_loss(chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
    """Return the mean of ``-log sigma(chosen - rejected - margin)``, a scalar; every argument is [batch].

    The shapes are asserted: a [batch] margin against [batch, 1] scores would broadcast to [batch, batch] in silence.
    """
    assert chosen.dim() == 1 and chosen.shape == rejected.shape == margin.shape, (
        f"expected three tensors [batch], found {[*chosen.shape]}, {[*rejected.shape]}, {[*margin.shape]}"
    )
    return -functional.logsigmoid(chosen - rejected - margin).mean()


def safety_loss(scores: Tensor, is_safe: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of sigma(scores) against the safety labels, a scalar.

    Args:
        scores: raw scores [batch].
        is_safe: 1 safe, 0 unsafe, NaN not labelled (left out) [batch]. With no label at all the loss is 0.
    """
    assert scores.dim() == 1 and scores.shape == is_safe.shape, (
        f"expected two tensors [batch], found {[*scores.shape]}, {[*is_safe.shape]}"
    )
    labelled = ~is_safe.isnan()
    losses = functional.binary_cross_entropy_with_logits(scores, torch.nan_to_num(is_safe), reduction="none")
    return (losses * labelled).sum() / labelled.sum().clamp(min=1)


def centering_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return the mean of ``(chosen + rejected)^2``, TRL's `center_rewards_coefficient`: it holds scores near 0."""
    return (chosen + rejected).square().mean()
