"""What the loop sees of its models, whichever way they lie in memory.

Two layouts fill it: `full`, where policy and critic are trained whole and the reference and both reward models are
models of their own, and `shared_base`, where all five are LoRA adapters of one base model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from chat_model.conversation import Message
from chat_model.log_probs import places_before, response_log_probs

# Raw scores, fp32 [N], of N conversations.
Scorer = Callable[[Sequence[Sequence[Message]]], Tensor]
TrainedPart = Literal["policy", "critic"]
TRAINED_PARTS: tuple[TrainedPart, ...] = ("policy", "critic")


@dataclass(frozen=True)
class Scorers:
    """The two reward models of section 3.2.2."""

    helpfulness: Scorer
    safety: Scorer


class Outputs(NamedTuple):
    """What policy and critic say of each response token, fp32 [batch, time], 0 elsewhere; None if not asked for."""

    log_probs: Tensor | None
    entropies: Tensor | None  # nats
    values: Tensor | None


class TrainedModels(nn.Module):
    """The one module that Accelerate prepares: policy and critic behind one `forward`. A layout says how each runs."""

    def forward(
        self,
        token_ids: Tensor,
        attention_mask: Tensor,
        response_mask: Tensor,
        temperature: float,
        with_entropy: bool = False,
        part: TrainedPart | None = None,
    ) -> Outputs:
        """Run policy and critic over rows padded on the right, or only one of them.

        A forward pass with gradients must name its `part` and be followed by its backward pass before the next one:
        parts may share layers, and the memory of one part's activations is then free for the other.

        Args:
            token_ids: [batch, time].
            attention_mask: bool [batch, time], True at tokens that are not padding.
            response_mask: bool [batch, time], True at generated tokens.
            temperature: of the distribution that log-probabilities and entropies are taken from.
            with_entropy: costs a softmax over the vocabulary.
            part: None runs both.
        """
        log_probs = entropies = values = None
        if part != "critic":
            inputs = (token_ids, attention_mask, response_mask, temperature)
            log_probs, entropies = response_log_probs(self.sampling_policy(), *inputs, with_entropy=with_entropy)
            self.await_backward(log_probs)
        if part != "policy":
            scores = self.critic_scores(token_ids, attention_mask, places_before(response_mask))
            values = place_values(scores, response_mask)
            self.await_backward(values)
        return Outputs(log_probs, entropies, values)

    def critic_scores(self, token_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        """Return the critic's scalar head [batch, time]; what it says off `places`, bool [batch, time], is not read."""
        raise NotImplementedError

    def await_backward(self, output: Tensor) -> None:
        """Note an output of `forward` whose backward pass is to come."""

    def parameters_of(self, part: TrainedPart) -> list[nn.Parameter]:
        """Return the trained parameters of policy or critic, told by name."""
        raise NotImplementedError

    def sampling_policy(self) -> Any:
        """Return the policy as a causal language model, ready to generate until the next call of this module."""
        raise NotImplementedError

    def save_policy(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Write the policy in Hugging Face format; `state` is this module's state dict, whole."""
        raise NotImplementedError


class Reference(Protocol):
    """The frozen policy that the KL penalty is measured from."""

    @property
    def model(self) -> Any:
        """The reference as a causal language model that is not sharded."""

    def __call__(self, token_ids: Tensor, attention_mask: Tensor, response_mask: Tensor, temperature: float) -> Tensor:
        """Return log-probabilities, fp32 [batch, time], 0 off the response; arguments as those of `TrainedModels`."""


@dataclass(frozen=True)
class PPOModels:
    """All models of one layout, on their device; `trained` not yet prepared."""

    trained: TrainedModels
    reference: Reference
    scorers: Scorers


def place_values(scores: Tensor, response_mask: Tensor) -> Tensor:
    """Return the value before each response token, fp32 [batch, time]: the score at the position to its left.

    Args:
        scores: [batch, time], of a scalar head at every position.
        response_mask: bool [batch, time].
    """
    return torch.where(response_mask, functional.pad(scores.float(), (1, 0))[:, :-1], 0.0)


def parameter_groups(
    trained: TrainedModels, learning_rate: float, critic_learning_rate: float, weight_decay: float
) -> list[dict]:
    """Return AdamW's groups: policy and critic at their own rates; only tensors of two dimensions and more decay."""
    groups = []
    for part, rate in zip(TRAINED_PARTS, (learning_rate, critic_learning_rate), strict=True):
        parameters = trained.parameters_of(part)
        matrices = [parameter for parameter in parameters if parameter.dim() >= 2]
        vectors = [parameter for parameter in parameters if parameter.dim() < 2]
        groups.append({"part": part, "params": matrices, "lr": rate, "weight_decay": weight_decay})
        groups.append({"part": part, "params": vectors, "lr": rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
