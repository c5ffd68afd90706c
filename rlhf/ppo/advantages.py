"""Generalised advantage estimation over the tokens of responses (our choice where section 3.2.3 is silent).

A token is an action and the text before it the state. `values[b, t]` is the critic's estimate *before* token t, so it
stands at the same position as the token's log-probability and reward, and one mask serves them all.
"""

import torch
from torch import Tensor


def generalized_advantages(
    rewards: Tensor, values: Tensor, response_mask: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, fp32 [batch, time] each; 0 outside the mask.

    Positions outside the mask are passed over: the next token that counts is what follows, wherever it stands. Nothing
    follows the last one, also when the response was cut off at the length bound: that bound is part of the task.

    Args:
        rewards: [batch, time]; values: [batch, time], the estimate before each token.
        response_mask: bool [batch, time].
        gamma: discount per token.
        gae_lambda: 0 is the one-step temporal difference, 1 the Monte Carlo return.
    """
    rewards, values = rewards.float(), values.float()
    advantages = torch.zeros_like(values)
    next_value = next_advantage = values.new_zeros(len(values))
    for position in reversed(range(values.shape[1])):
        counts, value = response_mask[:, position], values[:, position]
        surprise = rewards[:, position] + gamma * next_value - value
        advantage = surprise + gamma * gae_lambda * next_advantage
        next_value = torch.where(counts, value, next_value)
        next_advantage = torch.where(counts, advantage, next_advantage)
        advantages[:, position] = torch.where(counts, advantage, 0.0)
    return advantages, torch.where(response_mask, advantages + values, 0.0)


def explained_variance(returns_variance: Tensor, residual_variance: Tensor) -> Tensor:
    """Return the share of the returns' variance that the values explain: 1 is perfect, 0 a constant, below 0 worse."""
    return 1 - residual_variance / returns_variance.clamp_min(torch.finfo(torch.float32).tiny)
