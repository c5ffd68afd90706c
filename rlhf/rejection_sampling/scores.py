"""Both reward models' scores of responses, and R_c out of them as in PPO (section 3.2.3).

Scores are kept by the content of a response and of a reward model, so that neither a killed run that goes on nor, where
a folder is shared, a later round scores a remembered response again by a reward model that is still the same.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from chat_model.conversation import Message
from reward_model.scoring import RewardScorer
from rlhf.ppo.rewards import choose_scores
from rlhf.rejection_sampling.candidates import Candidate, Response
from rlhf.rejection_sampling.config import RejectionSamplingConfig

Conversations = Sequence[tuple[Message, ...]]


def score_responses(config: RejectionSamplingConfig, responses: Sequence[Response], cache: Path) -> list[Candidate]:
    """Return each response with its scores under both reward models, which are loaded one after the other.

    Args:
        cache: folder of scores; what the same weights scored there before, a killed run included, is not scored again.
    """
    conversations = [response.conversation for response in responses]
    helpfulness = _score_by(config, config.helpfulness_reward_model, conversations, cache)
    safety = _score_by(config, config.safety_reward_model, conversations, cache)
    is_safety = torch.tensor([response.prompt.is_safety for response in responses], dtype=torch.bool)
    rewards = choose_scores(helpfulness, safety, is_safety, config.safety_threshold).scores
    columns = (helpfulness.tolist(), safety.tolist(), rewards.tolist())
    return [Candidate.scored(*each) for each in zip(responses, *columns, strict=True)]


def _score_by(config: RejectionSamplingConfig, checkpoint: str, conversations: Conversations, cache: Path) -> Tensor:
    scorer = RewardScorer.from_checkpoint(checkpoint, config.score_batch_tokens, config.dtype, cache=cache)
    name = checkpoint.rstrip("/").rsplit("/", 1)[-1]
    return scorer.score(conversations, across_processes=True, description=f"scoring by {name}")
