"""The models of PPO in the full layout: policy and critic trained whole, the reference and both reward models frozen.

Policy and critic live in one module, because Accelerate, FSDP and DeepSpeed prepare *one* model with its optimiser. The
critic starts from the helpfulness reward model, whose score head is read at every position instead of the last one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.loading import load_causal_lm, load_scalar_model
from chat_model.log_probs import response_log_probs
from reward_model.scoring import RewardScorer

# Raw scores, fp32 [N], of N conversations. A reward model reads text, so its tokenizer may differ from the policy's.
Scorer = Callable[[Sequence[Sequence[Message]]], Tensor]


@dataclass(frozen=True)
class Scorers:
    """The two reward models of section 3.2.2."""

    helpfulness: Scorer
    safety: Scorer


class PolicyAndCritic(nn.Module):
    """Both trained models behind one `forward`, on rows of prompt and response padded on the right."""

    policy: Any  # a causal language model of transformers
    critic: Any  # a sequence classifier of transformers with one label

    def __init__(self, policy: nn.Module, critic: nn.Module):
        super().__init__()
        self.policy = policy
        self.critic = critic

    def forward(
        self,
        token_ids: Tensor,
        attention_mask: Tensor,
        response_mask: Tensor,
        temperature: float,
        with_entropy: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return log-probabilities, entropies (nats, if asked for) and values, fp32 [batch, time]; 0 off the response.

        Args:
            token_ids: [batch, time], padded on the right.
            attention_mask: bool [batch, time], True at tokens that are not padding.
            response_mask: bool [batch, time], True at generated tokens.
            temperature: of the distribution that log-probabilities and entropies are taken from.
            with_entropy: costs a softmax over the vocabulary.
        """
        log_probs, entropies = response_log_probs(
            self.policy, token_ids, attention_mask, response_mask, temperature, with_entropy=with_entropy
        )
        return log_probs, entropies, token_values(self.critic, token_ids, attention_mask, response_mask)


def token_values(critic: Any, token_ids: Tensor, attention_mask: Tensor, response_mask: Tensor) -> Tensor:
    """Return the value before each response token, fp32 [batch, time]: the score at the position to its left."""
    hidden = critic.base_model(input_ids=token_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    scores = critic.score(hidden).squeeze(-1).float()
    return torch.where(response_mask, functional.pad(scores, (1, 0))[:, :-1], 0.0)


def load_policy_and_critic(
    policy: str, reward_model: str, attn_implementation: str | None, gradient_checkpointing: bool
) -> PolicyAndCritic:
    """Load both trained models in fp32 and without dropout: with it the ratio of the first step would not be 1.

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


def load_reference(name: str, dtype: str, attn_implementation: str | None, device: torch.device) -> nn.Module:
    """Load the frozen policy that the KL penalty is measured from."""
    reference = load_causal_lm(name, dtype=dtype, attn_implementation=attn_implementation)
    return reference.to(device).requires_grad_(False)


def load_scorers(helpfulness: str, safety: str, batch_tokens: int, dtype: str, device: torch.device) -> Scorers:
    """Load both reward models, frozen, each with its own tokenizer."""
    names = (helpfulness, safety)
    return Scorers(*(RewardScorer.from_checkpoint(name, batch_tokens, dtype, device).score for name in names))


def turn_dropout_off(module: nn.Module) -> None:
    """Set every dropout rate to 0, those that attention layers keep as plain numbers included."""
    for owner, name in _dropout_rates(module):
        setattr(owner, name, 0.0)


def has_dropout(module: nn.Module) -> bool:
    """Return whether any dropout rate of `module` is above 0."""
    return any(getattr(owner, name) > 0 for owner, name in _dropout_rates(module))


def _dropout_rates(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for child in module.modules():
        if isinstance(child, nn.Dropout):
            yield child, "p"
        numbers = [name for name, value in vars(child).items() if isinstance(value, float)]
        yield from ((child, name) for name in numbers if "dropout" in name)


def parameter_groups(
    module: PolicyAndCritic, learning_rate: float, critic_learning_rate: float, weight_decay: float
) -> list[dict]:
    """Return AdamW's groups: policy and critic at their own rates; only tensors of two dimensions and more decay."""
    groups = []
    for model, rate in ((module.policy, learning_rate), (module.critic, critic_learning_rate)):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        matrices = [parameter for parameter in trained if parameter.dim() >= 2]
        vectors = [parameter for parameter in trained if parameter.dim() < 2]
        groups.append({"params": matrices, "lr": rate, "weight_decay": weight_decay})
        groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
