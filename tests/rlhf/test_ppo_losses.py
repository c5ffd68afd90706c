"""The clipped losses: by hand, gradients included, against a naive loop, and independent of how rows are split."""

import math

import pytest
import torch

from rlhf.ppo.losses import clipped_tokens, policy_loss, policy_ratio, value_loss


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([list(numbers)])


ALL = torch.ones(1, 4, dtype=torch.bool)


def test_policy_loss_by_hand():
    ratios = row(1.5, 1.5, 0.5, 0.5)
    advantages = row(1.0, -1.0, 1.0, -1.0)
    # the pessimistic choice: gains are cut at 1.2, losses are not; falls are not cut where they hurt
    expected = -(1.2 - 1.5 + 0.5 - 0.8)
    loss = policy_loss(ratios.log(), torch.zeros(1, 4), advantages, ALL, clip_range=0.2)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert clipped_tokens(ratios, ALL, 0.2).item() == 4


def test_policy_gradient_stops_where_the_clip_holds():
    log_probs = row(1.5, 1.5, 0.5, 0.5).log().requires_grad_()
    policy_loss(log_probs, torch.zeros(1, 4), row(1.0, -1.0, 1.0, -1.0), ALL, 0.2).backward()
    torch.testing.assert_close(log_probs.grad, row(0.0, 1.5, -0.5, 0.0))


def test_at_ratio_one_the_gradient_is_the_policy_gradient():
    log_probs = torch.randn(3, 5).requires_grad_()
    advantages = torch.randn(3, 5)
    policy_loss(log_probs, log_probs.detach(), advantages, torch.ones(3, 5, dtype=torch.bool), 0.2).backward()
    torch.testing.assert_close(log_probs.grad, -advantages)


def test_value_loss_by_hand():
    values, old, returns = row(1.0, 1.0, 0.1, 3.0), row(0.0, 0.0, 0.0, 3.0), row(1.0, -1.0, 1.0, 1.0)
    # clipped values: 0.2, 0.2, 0.1, 3.0; the larger error counts: 0.64, 4.0, 0.81, 4.0
    assert value_loss(values, old, returns, ALL, 0.2).item() == pytest.approx((0.64 + 4.0 + 0.81 + 4.0) / 2)
    assert value_loss(values, old, returns, ALL, None).item() == pytest.approx((0 + 4.0 + 0.81 + 4.0) / 2)


def test_masked_positions_cannot_overflow_or_leak():
    mask = torch.tensor([[True, False, True, False]])
    log_probs = row(0.0, 500.0, 0.0, math.nan).requires_grad_()
    loss = policy_loss(log_probs, torch.zeros(1, 4), torch.ones(1, 4), mask, 0.2)
    loss.backward()
    assert loss.item() == -2.0
    assert log_probs.grad[~mask].tolist() == [0.0, 0.0]
    assert policy_ratio(log_probs, torch.zeros(1, 4), mask)[~mask].tolist() == [1.0, 1.0]


def naive_losses(log_probs, old_log_probs, advantages, values, old_values, returns, mask, clip):
    """Token by token in plain Python."""
    policy = value = 0.0
    for b, t in mask.nonzero().tolist():
        ratio, advantage = math.exp(log_probs[b, t] - old_log_probs[b, t]), advantages[b, t].item()
        policy -= min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage)
        old, new, target = old_values[b, t].item(), values[b, t].item(), returns[b, t].item()
        bounded = min(max(new, old - clip), old + clip)
        value += max((new - target) ** 2, (bounded - target) ** 2) / 2
    return policy, value


def test_agrees_with_a_naive_loop_and_with_any_split_into_micro_batches():
    generator = torch.Generator().manual_seed(3)
    tensors = list(torch.randn(6, 8, 10, generator=generator) * 0.5)
    mask = torch.rand(8, 10, generator=generator) < 0.5
    log_probs, old_log_probs, advantages, values, old_values, returns = tensors
    expected_policy, expected_value = naive_losses(*tensors, mask, 0.2)
    for size in (8, 4, 1):
        splits = [slice(start, start + size) for start in range(0, 8, size)]
        policy = sum(policy_loss(log_probs[s], old_log_probs[s], advantages[s], mask[s], 0.2) for s in splits)
        value = sum(value_loss(values[s], old_values[s], returns[s], mask[s], 0.2) for s in splits)
        assert policy.item() == pytest.approx(expected_policy, rel=1e-5)
        assert value.item() == pytest.approx(expected_value, rel=1e-5)
