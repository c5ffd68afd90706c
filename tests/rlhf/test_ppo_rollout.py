"""Prompts in order, rows dealt to ranks, and steps 5 and 6 put together."""

import pytest
import torch

from chat_model.conversation import Message, Prompt
from chat_model.generation import Samples
from rlhf.ppo.metrics import rollout_metrics
from rlhf.ppo.rollout import draw_prompts, own_responses

PROMPTS = [Prompt((Message("user", f"question {number}"),)) for number in range(10)]
CPU = torch.device("cpu")


def test_every_epoch_holds_every_prompt_once_in_another_order():
    drawn = [prompt for iteration in range(10) for prompt in draw_prompts(PROMPTS, iteration, 4, seed=0)]
    epochs = [drawn[start : start + 10] for start in range(0, 40, 10)]
    for epoch in epochs:
        assert set(epoch) == set(PROMPTS)
    assert epochs[0] != epochs[1] and epochs[0] != PROMPTS


def test_a_batch_may_be_larger_than_the_data_and_depends_on_the_seed_only():
    drawn = draw_prompts(PROMPTS, 0, 25, seed=0)
    assert len(drawn) == 25 and drawn == draw_prompts(PROMPTS, 0, 25, seed=0) != draw_prompts(PROMPTS, 0, 25, seed=1)
    assert drawn[:20] == [*draw_prompts(PROMPTS, 0, 10, seed=0), *draw_prompts(PROMPTS, 1, 10, seed=0)]


def test_ranks_share_the_rows_of_every_mini_batch():
    samples = Samples([[1, number] for number in range(4)], [[9] * (number + 1) for number in range(4)],
                      ["stop", "length", "stop", "stop"], list("abcd"))  # fmt: skip
    mine = own_responses(PROMPTS[:4], samples, pad_token_id=0, rank=1, ranks=2, device=CPU)
    assert mine.texts == ["b", "d"] and mine.prompts == [PROMPTS[1], PROMPTS[3]]
    assert mine.token_ids.tolist() == [[1, 1, 9, 9, 0, 0], [1, 3, 9, 9, 9, 9]]
    assert mine.response_mask.int().tolist() == [[0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]]
    assert mine.attention_mask.int().tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]
    assert mine.stopped.tolist() == [False, True] and mine.lengths == [4, 6]
    assert mine.conversations[0] == (*PROMPTS[1].prompt, Message("assistant", "b"))


def test_what_the_sampler_knew_stands_at_the_tokens_of_the_ranks_own_rows():
    known = [torch.full((2, number + 1), float(number)) * torch.tensor([[-1.0], [1.0]]) for number in range(4)]
    samples = Samples([[1]] * 4, [[9] * (number + 1) for number in range(4)], ["stop"] * 4, list("abcd"), known)
    mine = own_responses(PROMPTS[:4], samples, pad_token_id=0, rank=1, ranks=2, device=CPU)
    assert mine.known[0].tolist() == [[0, -1, -1, 0, 0], [0, -3, -3, -3, -3]]
    assert mine.known[1].tolist() == [[0, 1, 1, 0, 0], [0, 3, 3, 3, 3]]


def test_a_pad_token_that_was_generated_still_counts():
    samples = Samples([[1]], [[0, 5, 0]], ["length"], ["x"])
    mine = own_responses(PROMPTS[:1], samples, pad_token_id=0, rank=0, ranks=1, device=CPU)
    assert mine.attention_mask.tolist() == [[True] * 4] and mine.response_mask.tolist() == [[False, True, True, True]]


def test_scores_are_whitened_and_cut_off_responses_pay(rollout):
    measured, mask = rollout.measurements, rollout.responses.response_mask
    kl = torch.where(mask, measured.log_probs - measured.reference_log_probs, 0.0).sum(dim=1)
    scores = rollout.rewards.sum(dim=1) + 0.1 * kl
    expected = (rollout.chosen.scores - rollout.chosen.scores.mean()) / rollout.chosen.scores.std(correction=0)
    torch.testing.assert_close(scores, expected - 0.5 * (~rollout.responses.stopped).float(), atol=1e-5, rtol=1e-5)


def test_advantages_are_whitened_and_returns_are_not(rollout):
    mask = rollout.responses.response_mask
    counted = rollout.advantages[mask]
    assert counted.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert counted.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)
    unwhitened = (rollout.returns - rollout.measurements.values)[mask]
    torch.testing.assert_close(counted, (unwhitened - unwhitened.mean()) / unwhitened.std(correction=0))


def test_metrics_by_hand(rollout):
    metrics = rollout_metrics(rollout, 0.1, lambda tensor: tensor)
    measured, mask = rollout.measurements, rollout.responses.response_mask
    log_ratio = (measured.log_probs - measured.reference_log_probs)[mask]
    returns, residuals = rollout.returns[mask], (rollout.returns - measured.values)[mask]
    expected = {
        "reward": rollout.chosen.scores.mean(),
        "reward_after_kl": rollout.chosen.scores.mean() - 0.1 * log_ratio.sum() / 8,
        "probability_safety": rollout.safety.sigmoid().mean(),
        "branch_safety_tag": 2 / 8,
        "kl_k1": log_ratio.sum() / 8,
        "kl_k1_per_token": log_ratio.mean(),
        "kl_k3": (torch.exp(-log_ratio) - 1 + log_ratio).sum() / 8,
        "entropy": measured.entropies[mask].mean(),
        "response_length": mask.sum() / 8,
        "stopped": 5 / 8,
        "whitening_std": rollout.chosen.scores.std(correction=0),
        "explained_variance": 1 - residuals.var(correction=0) / returns.var(correction=0),
    }
    assert {name: metrics[name] for name in expected} == {
        name: pytest.approx(float(value), rel=1e-4, abs=1e-6) for name, value in expected.items()
    }
