"""The clipped losses of PPO, as sums over tokens (section 3.2.3; clip range 0.2).

Sums, not means: the caller divides once by the token count of the mini-batch over all ranks. A mean per micro-batch
would weigh tokens of short responses more, and make the gradient depend on how rows are split.
"""

import torch
from torch import Tensor


def policy_loss(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, response_mask: Tensor, clip_range: float
) -> Tensor:
    """Return -sum_t min(ratio_t A_t, clip(ratio_t, 1 - c, 1 + c) A_t), a scalar; differentiable in `log_probs`.

    All tensors are [batch, time]; ratio_t = exp(log_probs - old_log_probs); `clip_range` is c.
    """
    ratio = policy_ratio(log_probs, old_log_probs, response_mask)
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.where(response_mask, torch.minimum(ratio * advantages, clipped * advantages), 0.0).sum()


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, response_mask: Tensor, clip_range: float | None
) -> Tensor:
    """Return sum_t max((v_t - R_t)^2, (clip(v_t, old_t - c, old_t + c) - R_t)^2) / 2, a scalar.

    All tensors are [batch, time]; `clip_range` is c, in units of the value; None leaves the values unclipped.
    """
    errors = (values - returns).square()
    if clip_range is not None:
        clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
        errors = torch.maximum(errors, (clipped - returns).square())
    return torch.where(response_mask, errors, 0.0).sum() / 2


def policy_ratio(log_probs: Tensor, old_log_probs: Tensor, response_mask: Tensor) -> Tensor:
    """Return exp(log_probs - old_log_probs) [batch, time], and 1 outside the mask, where nothing can overflow."""
    return torch.where(response_mask, log_probs - old_log_probs, 0.0).exp()


def clipped_tokens(ratio: Tensor, response_mask: Tensor, clip_range: float) -> Tensor:
    """Return how many tokens' ratios lie outside [1 - c, 1 + c], a scalar."""
    return ((ratio - 1).abs() > clip_range).logical_and(response_mask).sum()
