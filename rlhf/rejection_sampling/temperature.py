"""Which temperature to sample at: the best one moves with every round, so every round looks for its own (Figure 8).

A hot policy is more varied, and the maximum of many samples gains by that until their quality gives way. A sweep on a
small set of prompts measures it: K samples a prompt at every candidate, scored as in the round itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chat_model.conversation import Prompt
from chat_model.intervals import bootstrap_interval
from chat_model.shards import Shards
from rlhf.rejection_sampling.best_of_n import expected_maxima
from rlhf.rejection_sampling.config import RejectionSamplingConfig
from rlhf.rejection_sampling.sampling import draw_responses
from rlhf.rejection_sampling.scores import score_responses


def sweep_temperatures(
    config: RejectionSamplingConfig, prompts: Sequence[Prompt], shards: Shards, cache: Path
) -> dict[str, Any]:
    """Sample `tuning_prompts` of the round's prompts at every candidate temperature; see `compare_temperatures`."""
    some = prompts[: config.tuning_prompts]
    candidates = config.tune_temperature
    drawn = draw_responses(config, some, candidates, config.num_samples, shards, "temperature_sweep")
    rewards = torch.tensor([candidate.reward for candidate in score_responses(config, drawn, cache)])
    return compare_temperatures(candidates, rewards.view(len(some), len(candidates), config.num_samples))


def compare_temperatures(temperatures: Sequence[float], rewards: Tensor) -> dict[str, Any]:
    """Return the sweep as `run.json` records it, ``chosen`` being the temperature of highest expected maximum at K.

    ``max`` holds a curve a temperature, the mean over prompts of the expected maximum of N = 1 … K samples; ``low`` and
    ``high`` are the 95 % interval of its last value. Of equal temperatures the first is chosen.

    Args:
        rewards: ``[prompts, temperatures, K]``.
    """
    maxima = [expected_maxima(each.double().sort(dim=1).values) for each in rewards.unbind(1)]  # each [prompts, K]
    at_k = [float(each[:, -1].mean()) for each in maxima]
    intervals = [bootstrap_interval(each[:, -1].tolist()) for each in maxima]
    return {
        "chosen": temperatures[at_k.index(max(at_k))],
        "prompts": len(rewards),
        "n": list(range(1, rewards.shape[2] + 1)),
        "temperature": list(temperatures),
        "max": [each.mean(dim=0).tolist() for each in maxima],
        "low": [low for low, _ in intervals],
        "high": [high for _, high in intervals],
    }
