"""Step 8: what an iteration is told by. Every number is a mean over the global batch, the same on every rank.

The reward that is optimised is whitened, so its mean is 0 by construction; `reward` is the mean before whitening.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from chat_model.engines import Engine
from chat_model.idleness import IdleWatch, PhaseClock
from chat_model.processes import on_cpu_only
from rlhf.ppo.advantages import explained_variance
from rlhf.ppo.rewards import kl_k1, kl_k3
from rlhf.ppo.rollout import Rollout
from rlhf.ppo.whitening import ReduceSum, masked_moments


class PhaseTimer:
    """Seconds of wall time by phase of an iteration."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a ``with`` block as ``seconds_<name>``."""
        began = time.perf_counter()
        yield
        self.seconds[f"seconds_{name}"] = round(time.perf_counter() - began, 4)


class Pace:
    """Seconds between two log lines, what lies between the phases included, and a word where an accelerator idles.

    Args:
        engine: a vLLM server samples elsewhere, while the accelerators of this run wait.
    """

    def __init__(self, engine: Engine):
        self.clock, self.watch, self.on_accelerator = PhaseClock(), IdleWatch(), not on_cpu_only()
        self.waiting = ("other", "sample") if engine == "vllm" else ("other",)

    def seconds(self, phases: dict[str, float]) -> dict[str, float]:
        """Return `phases`, named ``seconds_<phase>``, and ``seconds_other`` since the last call."""
        self.clock.close("iteration")
        other = self.clock.take()["iteration"] - sum(phases.values())
        return {**phases, "seconds_other": round(max(other, 0.0), 4)}

    def idle(self, seconds: dict[str, float]) -> str | None:
        """Return a warning of the phase that keeps accelerators waiting, once for each, or None."""
        by_phase = {name.removeprefix("seconds_"): value for name, value in seconds.items()}
        return self.watch.look(by_phase, self.waiting) if self.on_accelerator else None


def rollout_metrics(rollout: Rollout, kl_coefficient: float, reduce_sum: ReduceSum) -> dict[str, float]:
    """Return the metrics of steps 2 to 6.

    Means over responses: reward (R_c, raw), reward_after_kl (less beta times the KL), both scores raw and as
    probabilities, the share of each branch, KL in nats, length in tokens, stopped. Means over tokens: KL and entropy in
    nats. explained_variance is the critic's, before its update.
    """
    mask = rollout.responses.response_mask
    per_response = _response_values(rollout, kl_coefficient)
    per_token = _token_values(rollout)
    sums = [value.float().sum() for value in (*per_response.values(), *per_token.values())]
    counts = [mask.new_tensor(len(mask), dtype=torch.float32), mask.sum().float()]
    totals = reduce_sum(torch.stack([*sums, *counts]))
    means = torch.cat([totals[: len(per_response)] / totals[-2], totals[len(per_response) : -2] / totals[-1]])
    metrics = dict(zip([*per_response, *per_token], means.tolist(), strict=True))
    moments = rollout.score_moments
    whitening = {"whitening_mean": moments.mean.item(), "whitening_std": moments.std.item()}
    return {**metrics, **whitening, "explained_variance": _explained_variance(rollout, reduce_sum)}


def _response_values(rollout: Rollout, kl_coefficient: float) -> dict[str, Tensor]:
    """Values (B,) whose mean is a metric."""
    responses, measured, chosen = rollout.responses, rollout.measurements, rollout.chosen
    log_ratio = (measured.log_probs, measured.reference_log_probs, responses.response_mask)
    kl = kl_k1(*log_ratio)
    return {
        "reward": chosen.scores,
        "reward_after_kl": chosen.scores - kl_coefficient * kl,
        "score_helpfulness": rollout.helpfulness,
        "score_safety": rollout.safety,
        "probability_helpfulness": rollout.helpfulness.sigmoid(),
        "probability_safety": rollout.safety.sigmoid(),
        "branch_safety_tag": chosen.by_safety_tag,
        "branch_unsafe_gate": chosen.by_unsafe_gate,
        "branch_helpfulness": chosen.by_helpfulness,
        "kl_k1": kl,
        "kl_k3": kl_k3(*log_ratio),
        "response_length": responses.response_mask.sum(dim=1),
        "stopped": responses.stopped,
    }


def _token_values(rollout: Rollout) -> dict[str, Tensor]:
    """Values that are 0 off the response and whose mean over tokens is a metric."""
    measured, mask = rollout.measurements, rollout.responses.response_mask
    log_ratio = (measured.log_probs, measured.reference_log_probs, mask)
    return {
        "kl_k1_per_token": kl_k1(*log_ratio),
        "kl_k3_per_token": kl_k3(*log_ratio),
        "entropy": measured.entropies,
    }


def _explained_variance(rollout: Rollout, reduce_sum: ReduceSum) -> float:
    mask, values = rollout.responses.response_mask, rollout.measurements.values
    returns = masked_moments(rollout.returns, mask, reduce_sum)
    residuals = masked_moments(rollout.returns - values, mask, reduce_sum)
    return explained_variance(returns.variance, residuals.variance).item()
