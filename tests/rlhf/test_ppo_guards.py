"""Each guard lets a sound run through and stops a broken one with the reason."""

import json

import pytest
import torch

from chat_model.errors import InputError
from rlhf.ppo.guards import (
    TrainingFault,
    check_finite,
    check_first_ratio,
    check_kl,
    check_log_probs,
    check_measurements,
    check_no_dropout,
    check_safety_model,
    check_sampler,
    check_scores,
    length_warning,
)


def test_a_model_that_scales_its_logits_is_recognised(tiny_model):
    check_log_probs(tiny_model, [1, 5, 9, 300])
    forward = tiny_model.forward

    def scaled(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = output.logits * 4
        return output

    tiny_model.forward = scaled
    with pytest.raises(TrainingFault, match="logits of LlamaForCausalLM"):
        check_log_probs(tiny_model, [1, 5, 9, 300])


def test_dropout_is_refused(tiny_model):
    check_no_dropout(tiny_model)
    tiny_model.model.layers[0].self_attn.attention_dropout = 0.1
    with pytest.raises(TrainingFault, match="dropout is on"):
        check_no_dropout(tiny_model)


def test_the_first_ratio_is_one_within_the_precision_at_hand():
    check_first_ratio(5e-4, low_precision=False, iteration=0)
    check_first_ratio(5e-3, low_precision=True, iteration=0)
    for deviation in (5e-3, float("nan")):
        with pytest.raises(TrainingFault, match="iteration 7"):
            check_first_ratio(deviation, low_precision=False, iteration=7)


def test_numbers_that_are_not_finite_are_named():
    check_finite(0, loss=1.0)
    with pytest.raises(TrainingFault, match="loss is inf, norm is nan"):
        check_finite(0, loss=float("inf"), fine=0.0, norm=float("nan"))


def test_scores_of_nan_and_of_the_wrong_shape_are_refused():
    check_scores("safety", torch.tensor([1.0, -2.0]), ["a", "b"], 0)
    with pytest.raises(TrainingFault, match="safety reward model scored 1 of 2 .* first 'b'"):
        check_scores("safety", torch.tensor([1.0, float("nan")]), ["a", "b"], 0)
    with pytest.raises(TrainingFault, match=r"shape \(2, 1\); expected \(2,\)"):
        check_scores("safety", torch.zeros(2, 1), ["a", "b"], 0)


def test_a_safety_model_whose_score_is_no_probability_is_refused_unless_allowed(tiny_reward_checkpoint, tmp_path):
    with pytest.raises(InputError, match="neither calibrated nor trained with the safety loss, so .* means nothing"):
        check_safety_model(str(tiny_reward_checkpoint), 0.15, allow_uncalibrated=False)
    check_safety_model(str(tiny_reward_checkpoint), 0.15, allow_uncalibrated=True)
    (tmp_path / "run.json").write_text(json.dumps({"config": {"safety_loss_weight": 1.0}}))
    check_safety_model(str(tmp_path), 0.15, allow_uncalibrated=False)


def test_measurements_that_are_not_finite_name_their_rows():
    fine = torch.zeros(3, 2)
    check_measurements(0, log_probs=fine, values=fine)
    broken = torch.tensor([[0.0, 0.0], [0.0, float("inf")], [float("nan"), 0.0]])
    with pytest.raises(TrainingFault, match="values of 2 of 3 responses") as fault:
        check_measurements(0, log_probs=fine, values=broken)
    assert fault.value.rows == [1, 2]


def test_a_kl_or_a_sampler_out_of_bounds_stops_the_run_and_so_does_one_that_is_no_number():
    check_kl(4.9, 5.0, 0)
    check_kl(1e9, None, 0)
    check_sampler(0.09, 0.1, 0)
    for number in (5.1, float("nan")):
        with pytest.raises(TrainingFault, match="above max_kl 5"):
            check_kl(number, 5.0, 0)
        with pytest.raises(TrainingFault, match="above max_sampler_mismatch"):
            check_sampler(number, 0.1, 0)


def test_lengths_gone_astray_are_said():
    assert length_warning(100.0, first=120.0, stopped=0.1) is None
    assert "collapsed from 120 to 20" in length_warning(20.0, first=120.0, stopped=1.0)
    assert "grown from 20 to 120" in length_warning(120.0, first=20.0, stopped=0.2)
    assert length_warning(120.0, first=20.0, stopped=0.9) is None


def test_the_samplers_log_probs_are_the_trainers(policy_and_critic, responses):
    """Left padding and a cache against right padding in one pass; positions that ignore padding would differ."""
    from rlhf.ppo.collection import sampler_log_probs

    mask = responses.response_mask
    ours, _, _ = policy_and_critic(responses.token_ids, responses.attention_mask, mask, 0.7)
    theirs = sampler_log_probs(policy_and_critic.policy, responses.token_ids, mask, 0.7)
    torch.testing.assert_close(theirs, ours[mask].detach(), atol=1e-5, rtol=0)
    hotter = sampler_log_probs(policy_and_critic.policy, responses.token_ids, mask, 1.0)
    assert (hotter - theirs).abs().mean() > 1e-3, "a temperature that one side forgot must show"


def test_accelerators_that_wait_for_a_server_or_between_the_phases_are_told(monkeypatch):
    from chat_model.idleness import PhaseClock
    from rlhf.ppo import metrics

    monkeypatch.setattr(metrics, "on_cpu_only", lambda: False)
    times = iter([0.0, 10.0, 30.0, 40.0])
    beside, server = metrics.Pace("vllm_colocated"), metrics.Pace("vllm")
    server.clock = PhaseClock(lambda: next(times))
    phases = {"seconds_sample": 6.0, "seconds_update": 3.0}
    assert server.seconds(phases) == {**phases, "seconds_other": 1.0}
    assert server.seconds(phases)["seconds_other"] == 11.0
    seconds = server.seconds(phases)
    assert [server.idle(seconds), beside.idle(seconds)] == [None, None]  # the first iteration warms up
    assert "60% of the last 10.0 s (seconds_sample); the vLLM server samples" in server.idle(seconds)
    assert beside.idle(seconds) is None
    assert "(seconds_other)" in beside.idle({**seconds, "seconds_other": 5.0})
