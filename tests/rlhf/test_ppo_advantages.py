"""Generalised advantages: by hand, at both ends of lambda, and against a naive double sum on random masked input."""

import pytest
import torch

from rlhf.ppo.advantages import explained_variance, generalized_advantages


def test_by_hand_with_a_gap_in_the_mask():
    mask = torch.tensor([[False, True, False, True]])
    rewards = torch.tensor([[7.0, 1.0, 7.0, 2.0]])
    values = torch.tensor([[7.0, 0.5, 7.0, 1.5]])
    advantages, returns = generalized_advantages(rewards, values, mask, gamma=0.9, gae_lambda=0.5)
    last = 2.0 - 1.5  # nothing follows
    first = (1.0 + 0.9 * 1.5 - 0.5) + 0.9 * 0.5 * last  # the gap is passed over undiscounted
    torch.testing.assert_close(advantages, torch.tensor([[0.0, first, 0.0, last]]))
    torch.testing.assert_close(returns, torch.tensor([[0.0, first + 0.5, 0.0, 2.0]]))


def naive_advantages(rewards, values, gamma, gae_lambda):
    """The definition: sum over l of (gamma lambda)^l delta_{t+l}, on one unmasked row of plain floats."""
    steps = len(rewards)
    following = [*values[1:], 0.0]
    deltas = [rewards[t] + gamma * following[t] - values[t] for t in range(steps)]
    return [sum((gamma * gae_lambda) ** (u - t) * deltas[u] for u in range(t, steps)) for t in range(steps)]


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_agrees_with_the_definition_on_random_masked_rows(gamma, gae_lambda):
    generator = torch.Generator().manual_seed(2)
    mask = torch.rand(32, 9, generator=generator) < 0.6
    rewards, values = torch.randn(2, 32, 9, generator=generator)
    advantages, returns = generalized_advantages(rewards, values, mask, gamma, gae_lambda)
    for row in range(32):
        counts = mask[row]
        expected = naive_advantages(rewards[row, counts].tolist(), values[row, counts].tolist(), gamma, gae_lambda)
        torch.testing.assert_close(advantages[row, counts], torch.tensor(expected), atol=1e-5, rtol=1e-5)
        assert (advantages[row, ~counts] == 0).all() and (returns[row, ~counts] == 0).all()
    torch.testing.assert_close(returns[mask], (advantages + values)[mask])


def test_lambda_one_gives_monte_carlo_returns():
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[9.0, -4.0, 0.3]])
    _, returns = generalized_advantages(rewards, values, torch.ones(1, 3, dtype=torch.bool), 1.0, 1.0)
    torch.testing.assert_close(returns, torch.tensor([[6.0, 5.0, 3.0]]))


def test_values_outside_the_mask_have_no_influence():
    mask = torch.tensor([[False, True, True, False]])
    rewards, values = torch.randn(2, 1, 4)
    disturbed = torch.where(mask, values, torch.tensor(1e6))
    before = generalized_advantages(rewards, values, mask, 1.0, 0.95)
    after = generalized_advantages(rewards, disturbed, mask, 1.0, 0.95)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])


def test_explained_variance():
    assert explained_variance(torch.tensor(4.0), torch.tensor(1.0)).item() == 0.75
    assert explained_variance(torch.tensor(1.0), torch.tensor(3.0)).item() == -2.0
