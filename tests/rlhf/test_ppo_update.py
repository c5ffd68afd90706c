"""The update: gradients that do not depend on the split into micro-batches, and a warm-up that spares the policy."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from rlhf.ppo.guards import TrainingFault
from rlhf.ppo.losses import policy_loss, value_loss
from rlhf.ppo.micro_batches import split_by_tokens
from rlhf.ppo.models.interface import parameter_groups
from rlhf.ppo.update import UpdateSettings, accumulate_gradients, update

SETTINGS = UpdateSettings(
    mini_batch_size=4,
    num_epochs=1,
    micro_batch_tokens=10_000,
    temperature=0.7,
    clip_range=0.2,
    value_clip_range=0.2,
    max_grad_norm=1.0,
)


def gradient_of(module, rollout, token_budget: int) -> tuple[torch.Tensor, dict]:
    module.zero_grad()
    settings = replace(SETTINGS, micro_batch_tokens=token_budget)
    sums = accumulate_gradients(Accelerator(cpu=True), module, rollout, list(range(8)), settings)
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()]), sums


def shift_policy(module) -> None:
    """Move the weights a little, so that ratios differ from 1 and the clips matter."""
    torch.manual_seed(6)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn_like(parameter)


def make_optimizer(module, weight_decay=0.1):
    return torch.optim.AdamW(parameter_groups(module, 1e-3, 1e-3, weight_decay))


def test_the_gradient_is_that_of_the_token_mean_however_rows_are_split(policy_and_critic, rollout):
    shift_policy(policy_and_critic)
    responses, measured = rollout.responses, rollout.measurements
    mask = responses.response_mask
    log_probs, _, values = policy_and_critic(responses.token_ids, responses.attention_mask, mask, 0.7)
    policy = policy_loss(log_probs, measured.log_probs, rollout.advantages, mask, 0.2) / mask.sum()
    value = value_loss(values, measured.values, rollout.returns, mask, 0.2) / mask.sum()
    (policy + value).backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in policy_and_critic.parameters()])
    assert expected.abs().max() > 1e-3
    lengths = responses.lengths
    for budget, num_groups in ((10_000, 1), (4 * max(lengths), None), (1, 8)):  # 1x8, about 2x4, 8x1
        groups = split_by_tokens(lengths, budget)
        assert num_groups is None or len(groups) == num_groups
        gradient, sums = gradient_of(policy_and_critic, rollout, budget)
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=0)
        assert (sums.policy_loss / sums.tokens).item() == pytest.approx(policy.item(), abs=1e-6)
        assert (sums.value_loss / sums.tokens).item() == pytest.approx(value.item(), rel=1e-5)
        assert sums.tokens.item() == mask.sum()


def test_one_step_for_each_mini_batch_and_metrics_of_the_first_policy(policy_and_critic, rollout):
    optimizer = make_optimizer(policy_and_critic)
    metrics = update(Accelerator(cpu=True), policy_and_critic, optimizer, rollout, SETTINGS, iteration=0)
    steps = {int(state["step"]) for state in optimizer.state.values()}
    assert steps == {2} and len(optimizer.state) == len(list(policy_and_critic.parameters()))
    assert metrics["ratio"] == pytest.approx(1.0, abs=0.1) and metrics["value_loss"] > 0
    assert all(parameter.grad is None for parameter in policy_and_critic.parameters())


def test_the_warm_up_moves_the_critic_only(policy_and_critic, rollout):
    before = {name: tensor.clone() for name, tensor in policy_and_critic.state_dict().items()}
    optimizer = make_optimizer(policy_and_critic)
    update(Accelerator(cpu=True), policy_and_critic, optimizer, rollout, SETTINGS, iteration=0, critic_only=True)
    after = policy_and_critic.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("critic.") for name in moved)
    assert not any(parameter in optimizer.state for parameter in policy_and_critic.policy.parameters())


def test_a_large_value_gradient_does_not_shorten_the_policy_step(policy_and_critic, rollout):
    metrics = [
        update(Accelerator(cpu=True), policy_and_critic, torch.optim.SGD(policy_and_critic.parameters(), lr=0.0),
               replace(rollout, returns=rollout.returns + shift), SETTINGS, iteration=0)
        for shift in (0.0, 1e4)
    ]  # fmt: skip
    assert metrics[1]["critic_grad_norm"] > 1e3
    assert metrics[0]["policy_grad_norm"] == pytest.approx(metrics[1]["policy_grad_norm"], rel=1e-4)


def test_a_temperature_missing_from_one_side_stops_the_run(policy_and_critic, rollout):
    wrong = replace(SETTINGS, temperature=1.0)
    with pytest.raises(TrainingFault, match="policy ratio is off"):
        update(Accelerator(cpu=True), policy_and_critic, make_optimizer(policy_and_critic), rollout, wrong, iteration=3)


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_step(policy_and_critic, rollout):
    before = policy_and_critic.policy.lm_head.weight.clone()
    broken = replace(rollout, advantages=torch.full_like(rollout.advantages, float("nan")))
    with pytest.raises(TrainingFault, match="policy_grad_norm is nan"):
        update(Accelerator(cpu=True), policy_and_critic, make_optimizer(policy_and_critic), broken, SETTINGS, 0)
    assert torch.equal(before, policy_and_critic.policy.lm_head.weight)


def test_micro_batches_fit_the_budget_and_can_be_made_more():
    lengths = [5, 1, 9, 3, 3, 20]
    groups = split_by_tokens(lengths, 12)
    assert sorted(row for group in groups for row in group) == list(range(6))
    assert all(len(group) == 1 or len(group) * max(lengths[row] for row in group) <= 12 for group in groups)
    assert [sorted(row for group in split_by_tokens(lengths, 1000, n) for row in group) for n in (1, 3, 6)] == [
        list(range(6))
    ] * 3
    assert [len(split_by_tokens(lengths, 1000, n)) for n in (1, 3, 6)] == [1, 3, 6]
    short_and_long = [100] * 8 + [80] * 8 + [40] * 8
    assert [len(group) for group in split_by_tokens(short_and_long, 10_000)] == [16, 8], "40 of 100 is mostly padding"
    assert len(split_by_tokens([100] * 96, 10_000)) == 1, "rows of one length need one pass"
    with pytest.raises(ValueError, match="cannot fill"):
        split_by_tokens([1, 2], 10, at_least=3)
