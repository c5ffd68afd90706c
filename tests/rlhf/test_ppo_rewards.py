"""The reward of section 3.2.3, by hand and against a naive loop."""

import math

import pytest
import torch

from rlhf.ppo.rewards import choose_scores, kl_k1, kl_k3, last_response_index, token_rewards

LOGIT_OF_015 = math.log(0.15 / 0.85)  # -1.7346


def choose(helpfulness, safety, is_safety):
    return choose_scores(torch.tensor(helpfulness), torch.tensor(safety), torch.tensor(is_safety), threshold=0.15)


def test_each_branch_by_hand():
    chosen = choose([5.0, 5.0, 5.0], [2.0, -2.0, -1.5], [True, False, False])
    assert chosen.scores.tolist() == [2.0, -2.0, 5.0]
    assert chosen.by_safety_tag.tolist() == [True, False, False]
    assert chosen.by_unsafe_gate.tolist() == [False, True, False]
    assert chosen.by_helpfulness.tolist() == [False, False, True]


def test_the_threshold_is_a_probability_and_strict():
    just_below, just_above = LOGIT_OF_015 - 1e-4, LOGIT_OF_015 + 1e-4
    assert choose([9.0, 9.0], [just_below, just_above], [False, False]).scores.tolist() == [
        pytest.approx(just_below),
        9.0,
    ]


def test_a_tagged_unsafe_response_counts_as_tagged():
    chosen = choose([1.0], [-5.0], [True])
    assert chosen.by_safety_tag.item() and not chosen.by_unsafe_gate.item()


def test_scores_too_large_for_a_sigmoid_survive():
    assert choose([40.0], [60.0], [False]).scores.item() == 40.0  # sigmoid(40) is 1.0 in fp32, and its logit infinite


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="expected one shape"):
        choose_scores(torch.zeros(3), torch.zeros(3, 1), torch.zeros(3, dtype=torch.bool), 0.15)


def test_token_rewards_by_hand():
    mask = torch.tensor([[False, True, True, False], [False, False, True, True]])
    log_probs = torch.tensor([[9.0, -1.0, -2.0, 9.0], [9.0, 9.0, -1.0, -3.0]])
    reference = torch.tensor([[0.0, -2.0, -2.0, 0.0], [0.0, 0.0, -1.5, -1.0]])
    rewards = token_rewards(torch.tensor([1.0, -1.0]), log_probs, reference, mask, kl_coefficient=0.1)
    expected = torch.tensor([[0.0, -0.1, 1.0, 0.0], [0.0, 0.0, -0.05, -0.8]])
    torch.testing.assert_close(rewards, expected)


def test_rewards_sum_to_score_minus_kl_on_random_input():
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(16, 12, generator=generator) < 0.6
    mask[:, 3] = True
    log_probs, reference = -torch.rand(2, 16, 12, generator=generator)
    scores = torch.randn(16, generator=generator)
    rewards = token_rewards(scores, log_probs, reference, mask, kl_coefficient=0.3)
    for row in range(16):
        last = max(position for position in range(12) if mask[row, position])
        for position in range(12):
            ratio = log_probs[row, position] - reference[row, position]
            expected = -0.3 * ratio * mask[row, position] + (scores[row] if position == last else 0.0)
            torch.testing.assert_close(rewards[row, position], expected)
    torch.testing.assert_close(rewards.sum(dim=1), scores - 0.3 * kl_k1(log_probs, reference, mask))


def test_the_last_generated_token_is_found_and_an_empty_response_refused():
    mask = torch.tensor([[False, True, True, False], [True, False, False, False]])
    assert last_response_index(mask).tolist() == [2, 0]
    with pytest.raises(ValueError, match="counts no token"):
        last_response_index(torch.tensor([[True, False], [False, False]]))


def test_kl_estimates_by_hand_and_on_average():
    mask = torch.tensor([[True, True, False]])
    log_probs, reference = torch.tensor([[-1.0, -2.0, 50.0]]), torch.tensor([[-2.0, -1.0, 0.0]])
    assert kl_k1(log_probs, reference, mask).item() == pytest.approx(0.0)
    assert kl_k3(log_probs, reference, mask).item() == pytest.approx(math.exp(-1) + math.exp(1) - 2, rel=1e-5)


def test_both_kl_estimates_are_unbiased():
    policy, reference = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.2, 0.3, 0.5]).log()
    mask = torch.ones(3, 1, dtype=torch.bool)  # one response of one token for each outcome, weighed by its probability
    exact = (policy.exp() * (policy - reference)).sum()
    for estimate in (kl_k1, kl_k3):
        each = estimate(policy[:, None], reference[:, None], mask)
        torch.testing.assert_close((policy.exp() * each).sum(), exact)
