"""The reward of section 3.2.3: which reward model speaks, and the reward of every token.

    R(g | p) = whiten(logit(R_c(g | p))) - beta * KL(policy || reference)
    R_c      = R_s  if the prompt is tagged as safety or R_s < 0.15,  else R_h

R_s and R_h are the models' sigmoid scores. Their raw scores r are already logit(sigmoid(r)), so everything here works
from raw scores in fp32: pushing them through a sigmoid and back would lose the large ones.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ChosenScores:
    """The score that counts for each response, and why it was chosen; exactly one of the three masks is True."""

    scores: Tensor  # [batch] fp32, raw: logit(R_c)
    by_safety_tag: Tensor  # [batch] bool: the prompt is tagged
    by_unsafe_gate: Tensor  # [batch] bool: untagged, but the response scores as unsafe
    by_helpfulness: Tensor  # [batch] bool: all others


def choose_scores(helpfulness: Tensor, safety: Tensor, is_safety: Tensor, threshold: float) -> ChosenScores:
    """Return R_c for each response, as a raw score.

    Args:
        helpfulness: raw scores of the helpfulness reward model [batch].
        safety: raw scores of the safety reward model [batch].
        is_safety: the prompts' safety tags, bool [batch].
        threshold: probability below which a response counts as unsafe, in (0, 1); the paper's is 0.15.

    Raises:
        ValueError: shapes that differ (they would broadcast silently) or a threshold that is no probability.
    """
    if not helpfulness.shape == safety.shape == is_safety.shape or helpfulness.dim() != 1:
        shapes = [tuple(tensor.shape) for tensor in (helpfulness, safety, is_safety)]
        raise ValueError(f"helpfulness, safety and is_safety have shapes {shapes}; expected one shape [batch]")
    if not 0 < threshold < 1:
        raise ValueError(f"safety threshold {threshold}: expected a probability between 0 and 1")
    unsafe = safety.float() < math.log(threshold / (1 - threshold))
    scores = torch.where(is_safety | unsafe, safety.float(), helpfulness.float())
    return ChosenScores(scores, is_safety, unsafe & ~is_safety, ~unsafe & ~is_safety)


def last_response_index(response_mask: Tensor) -> Tensor:
    """Return the position of the last generated token of each row, int64 [batch], from a bool mask [batch, time].

    The last token *generated*, whatever it is: a response that was cut off at the length bound has no stop token.

    Raises:
        ValueError: a row without a response.
    """
    if not bool(response_mask.any(dim=1).all()):
        raise ValueError("a row of response_mask counts no token; every response has at least its stop token")
    positions = torch.arange(response_mask.shape[1], device=response_mask.device)
    return torch.where(response_mask, positions, -1).amax(dim=1)


def token_rewards(
    scores: Tensor, log_probs: Tensor, reference_log_probs: Tensor, response_mask: Tensor, kl_coefficient: float
) -> Tensor:
    """Return the reward of every response token, fp32 [batch, time]; 0 outside the response.

    Each token pays `kl_coefficient` times its log-ratio to the reference (the k1 estimate, whose sum over a response is
    the paper's KL in nats); the score arrives with the last generated token.

    Args:
        scores: whitened scores of the responses [batch].
        log_probs: log-probability of each token under the policy that sampled it [batch, time].
        reference_log_probs: the same under the frozen reference [batch, time].
        response_mask: bool [batch, time].
        kl_coefficient: beta, in reward per nat.
    """
    penalty = kl_coefficient * (log_probs.float() - reference_log_probs.float())
    rewards = torch.where(response_mask, -penalty, 0.0)
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, last_response_index(response_mask)] += scores.float()
    return rewards


def kl_k1(log_probs: Tensor, reference_log_probs: Tensor, response_mask: Tensor) -> Tensor:
    """Return the k1 estimate of KL(policy || reference) of each response in nats [batch]; may be negative."""
    return torch.where(response_mask, log_probs - reference_log_probs, 0.0).sum(dim=1)


def kl_k3(log_probs: Tensor, reference_log_probs: Tensor, response_mask: Tensor) -> Tensor:
    """Return the k3 estimate exp(-d) - 1 + d, d the log-ratio, of each response in nats [batch]; never negative."""
    difference = torch.where(response_mask, log_probs - reference_log_probs, 0.0)
    return (torch.expm1(-difference) + difference).sum(dim=1)
