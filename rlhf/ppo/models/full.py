"""The full layout: policy and critic trained whole, the reference and both reward models frozen models of their own.

Policy and critic live in one module, because Accelerate, FSDP and DeepSpeed prepare *one* model with its optimiser. The
critic starts from the helpfulness reward model, whose score head is read at every position instead of the last one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chat_model.errors import InputError
from chat_model.last_layer import last_layer_only_at
from chat_model.loading import load_causal_lm, load_scalar_model
from chat_model.log_probs import response_log_probs
from reward_model.scoring import RewardScorer
from rlhf.ppo.models.dropout import turn_dropout_off
from rlhf.ppo.models.interface import Scorers, TrainedModels, TrainedPart


class PolicyAndCritic(TrainedModels):
    """Both trained models behind one `forward`; see `TrainedModels`."""

    policy: Any  # a causal language model of transformers
    critic: Any  # a sequence classifier of transformers with one label

    def __init__(self, policy: Any, critic: Any):
        super().__init__()
        self.policy = policy
        self.critic = critic
        self._no_split_modules = list(policy._no_split_modules or ())  # the layers that FSDP2 shards one by one

    def critic_scores(self, token_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        body = self.critic.base_model
        with last_layer_only_at(body, places):
            hidden = body(input_ids=token_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        return self.critic.score(hidden).squeeze(-1)

    def parameters_of(self, part: TrainedPart) -> list[nn.Parameter]:
        return [parameter for parameter in getattr(self, part).parameters() if parameter.requires_grad]

    def sampling_policy(self) -> Any:
        return self.policy

    def save_policy(self, folder: Path, state: dict[str, Tensor]) -> None:
        mine = {name.removeprefix("policy."): tensor for name, tensor in state.items() if name.startswith("policy.")}
        self.policy.save_pretrained(folder, state_dict=mine)


@dataclass(frozen=True)
class FrozenReference:
    """The reference as a model of its own; see `Reference`."""

    model: Any

    def __call__(self, token_ids: Tensor, attention_mask: Tensor, response_mask: Tensor, temperature: float) -> Tensor:
        return response_log_probs(self.model, token_ids, attention_mask, response_mask, temperature)[0]


def load_policy_and_critic(
    policy: str, reward_model: str, attn_implementation: str | None, gradient_checkpointing: bool
) -> PolicyAndCritic:
    """Load both trained models in fp32 and without dropout.

    Raises:
        InputError: a model that cannot be loaded, or a reward model without a linear head `score`.
    """
    critic = load_scalar_model(reward_model, attn_implementation=attn_implementation)
    if not isinstance(getattr(critic, "score", None), nn.Linear):
        raise InputError(
            f"{reward_model}: {type(critic).__name__} has no linear head 'score'; it cannot serve as critic"
        )
    module = PolicyAndCritic(load_causal_lm(policy, attn_implementation=attn_implementation), critic)
    turn_dropout_off(module)
    if gradient_checkpointing:
        for model in (module.policy, module.critic):
            model.gradient_checkpointing_enable({"use_reentrant": False})
    return module


def load_reference(name: str, dtype: str, attn_implementation: str | None, device: torch.device) -> FrozenReference:
    """Load the frozen policy that the KL penalty is measured from."""
    reference = load_causal_lm(name, dtype=dtype, attn_implementation=attn_implementation)
    return FrozenReference(reference.to(device).requires_grad_(False))


def load_scorers(helpfulness: str, safety: str, batch_tokens: int, dtype: str, device: torch.device) -> Scorers:
    """Load both reward models, frozen, each with its own tokenizer, which may differ from the policy's."""
    names = (helpfulness, safety)
    return Scorers(*(RewardScorer.from_checkpoint(name, batch_tokens, dtype, device).score for name in names))
