"""Steps 1 to 6 of an iteration: prompts, responses, what every model says of them, rewards and advantages.

Each step yields a frozen record. All batches here are one rank's share: row i of rank r is row ``i * ranks + r`` of the
global batch, so that the global mini-batch k holds the same responses on any number of ranks.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chat_model.conversation import Message, Prompt
from chat_model.generation import Samples
from rlhf.ppo.advantages import generalized_advantages
from rlhf.ppo.rewards import ChosenScores, choose_scores, token_rewards
from rlhf.ppo.whitening import Moments, ReduceSum, masked_moments, whiten


@dataclass(frozen=True)
class Responses:
    """Step 2: sampled responses behind their prompts."""

    prompts: list[Prompt]  # B
    texts: list[str]  # B, without special tokens
    token_ids: Tensor  # (B, T) int64: prompt, response, padding
    attention_mask: Tensor  # (B, T) bool: not padding
    response_mask: Tensor  # (B, T) bool: generated, the stop token included
    stopped: Tensor  # (B,) bool: ended by a stop token, not cut off
    known: Tensor | None = (
        None  # (2, B, T) fp32: the sampler's log-probs and entropies, 0 off the response; or not kept
    )

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row, prompt included."""
        return self.attention_mask.sum(dim=1).tolist()

    @property
    def conversations(self) -> list[tuple[Message, ...]]:
        """Prompt and response as text, which is what a reward model reads."""
        pairs = zip(self.prompts, self.texts, strict=True)
        return [(*prompt.prompt, Message("assistant", text)) for prompt, text in pairs]


@dataclass(frozen=True)
class Measurements:
    """Step 3: what the models say of each response token, before any update; fp32 (B, T), 0 off the response."""

    log_probs: Tensor  # of the policy that sampled
    entropies: Tensor  # of its distributions, in nats
    values: Tensor  # of the critic, before each token
    reference_log_probs: Tensor


@dataclass(frozen=True)
class Collected:
    """Steps 2 to 4: what took models to find out, and all that a rollout is computed from."""

    responses: Responses
    measurements: Measurements
    helpfulness: Tensor  # (B,) fp32 raw scores
    safety: Tensor  # (B,) fp32 raw scores


@dataclass(frozen=True)
class Rollout(Collected):
    """Steps 2 to 6: all that the update reads."""

    chosen: ChosenScores  # (B,) R_c as a raw score, and by which branch
    score_moments: Moments  # of R_c over the global batch
    rewards: Tensor  # (B, T)
    advantages: Tensor  # (B, T), whitened if the config says so
    returns: Tensor  # (B, T), what the critic learns

    @property
    def num_rows(self) -> int:
        return len(self.responses.texts)


def draw_prompts(prompts: Sequence[Prompt], iteration: int, batch_size: int, seed: int) -> list[Prompt]:
    """Return the prompts of one iteration's global batch: the next `batch_size` of an endless row of shuffled epochs.

    The position in the data is a function of seed and iteration, so a resumed run has nothing to restore.
    """
    first, last = iteration * batch_size, (iteration + 1) * batch_size
    drawn: list[Prompt] = []
    for epoch in range(first // len(prompts), (last - 1) // len(prompts) + 1):
        order = list(range(len(prompts)))
        random.Random(f"{seed} {epoch}").shuffle(order)
        start = epoch * len(prompts)
        drawn += [prompts[index] for index in order[max(0, first - start) : last - start]]
    return drawn


def own_responses(
    prompts: Sequence[Prompt], samples: Samples, pad_token_id: int, rank: int, ranks: int, device: torch.device
) -> Responses:
    """Return the responses of one rank's rows of the global batch, padded to the longest among them."""
    own = slice(rank, None, ranks)
    mine = Samples(samples.prompt_ids[own], samples.response_ids[own], samples.finish_reasons[own], samples.texts[own])
    known = None if samples.known is None else torch.cat(samples.known[own], dim=1).to(device)
    token_ids, response_mask = mine.padded(pad_token_id)
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(mine.prompt_ids, mine.response_ids, strict=True)]
    attention_mask = torch.arange(token_ids.shape[1]) < torch.tensor(lengths)[:, None]
    stopped = torch.tensor([reason == "stop" for reason in mine.finish_reasons])
    tensors = [tensor.to(device) for tensor in (token_ids, attention_mask, response_mask, stopped)]
    if known is not None:
        tensors.append(known.new_zeros(2, *token_ids.shape).masked_scatter(response_mask.to(device), known))
    return Responses(list(prompts[own]), mine.texts, *tensors)


@dataclass(frozen=True)
class RewardSettings:
    """The numbers of steps 5 and 6; see `PPOConfig` for what each means."""

    kl_coefficient: float
    safety_threshold: float
    missing_stop_penalty: float
    gamma: float
    gae_lambda: float
    whiten_advantages: bool


def estimate(
    responses: Responses,
    measurements: Measurements,
    helpfulness: Tensor,
    safety: Tensor,
    settings: RewardSettings,
    reduce_sum: ReduceSum,
) -> Rollout:
    """Steps 5 and 6: choose, whiten and place the scores, subtract the KL, and estimate the advantages.

    Args:
        helpfulness: raw scores (B,).
        safety: raw scores (B,).
        reduce_sum: sums over ranks; moments are those of the global batch.
    """
    mask = responses.response_mask
    is_safety = torch.tensor([prompt.is_safety for prompt in responses.prompts], device=mask.device)
    chosen = choose_scores(helpfulness, safety, is_safety, settings.safety_threshold)
    every_row = torch.ones_like(is_safety)
    moments = masked_moments(chosen.scores, every_row, reduce_sum)
    scores = whiten(chosen.scores, every_row, moments) - settings.missing_stop_penalty * ~responses.stopped
    log_probs, reference_log_probs = measurements.log_probs, measurements.reference_log_probs
    rewards = token_rewards(scores, log_probs, reference_log_probs, mask, settings.kl_coefficient)
    advantages, returns = generalized_advantages(
        rewards, measurements.values, mask, settings.gamma, settings.gae_lambda
    )
    if settings.whiten_advantages:
        advantages = whiten(advantages, mask, masked_moments(advantages, mask, reduce_sum))
    return Rollout(responses, measurements, helpfulness, safety, chosen, moments, rewards, advantages, returns)
