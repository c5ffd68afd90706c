"""Step 7: a batch's mini-batches, one gradient step each.

The loss of a mini-batch is the sum over the tokens of all its micro-batches on all ranks, divided once by their number.
So the gradient depends neither on how rows are split into micro-batches nor on how they are dealt to ranks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlhf.ppo.gradients import Gradients, gradients_of
from rlhf.ppo.guards import check_finite, check_first_ratio
from rlhf.ppo.losses import clipped_tokens, policy_loss, policy_ratio, value_loss
from rlhf.ppo.micro_batches import split_by_tokens
from rlhf.ppo.models.interface import TRAINED_PARTS, Outputs, TrainedPart
from rlhf.ppo.rollout import Responses, Rollout


@dataclass(frozen=True)
class UpdateSettings:
    """The numbers of step 7; see `PPOConfig` for what each means."""

    mini_batch_size: int
    num_epochs: int
    micro_batch_tokens: int
    temperature: float
    clip_range: float
    value_clip_range: float | None
    max_grad_norm: float


@dataclass
class UpdateSums:
    """Sums over the tokens of an update; this rank's, or after `reduced` those of all ranks."""

    tokens: Tensor
    policy_loss: Tensor
    value_loss: Tensor
    ratio: Tensor
    ratio_deviation: Tensor
    clipped: Tensor

    @classmethod
    def zeros(cls, device: torch.device) -> "UpdateSums":
        return cls(*torch.zeros(len(fields(cls)), device=device))

    def __add__(self, other: "UpdateSums") -> "UpdateSums":
        return UpdateSums(*(torch.stack(self.as_list()) + torch.stack(other.as_list())))

    def as_list(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]

    def reduced(self, accelerator: Accelerator) -> "UpdateSums":
        return UpdateSums(*accelerator.reduce(torch.stack(self.as_list()), reduction="sum"))


def update(
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    settings: UpdateSettings,
    iteration: int,
    critic_only: bool = False,
) -> dict[str, float]:
    """Take one step per mini-batch and return the update's metrics, means over tokens of all ranks.

    Args:
        module: `TrainedModels`, prepared by `accelerator`.
        critic_only: leave the policy as it is (critic warm-up).

    Raises:
        TrainingFault: the ratio is not 1 before the first step, or a gradient is not finite.
    """
    module.train()
    total, norms, gradients = UpdateSums.zeros(accelerator.device), [], gradients_of(accelerator, module)
    rows_of_rank = settings.mini_batch_size // accelerator.num_processes
    for epoch in range(settings.num_epochs):
        for start in range(0, rollout.num_rows, rows_of_rank):
            rows = list(range(start, start + rows_of_rank))
            sums = accumulate_gradients(accelerator, module, rollout, rows, settings, critic_only)
            if epoch == start == 0:
                deviation = (sums.ratio_deviation / sums.tokens).item()
                check_first_ratio(deviation, _in_low_precision(accelerator, module), iteration)
            norms.append(_step(gradients, optimizer, settings.max_grad_norm, iteration, critic_only))
            total = total + sums
    return {**_means(total), **_mean_norms(norms)}


def accumulate_gradients(
    accelerator: Accelerator,
    module: nn.Module,
    rollout: Rollout,
    rows: list[int],
    settings: UpdateSettings,
    critic_only: bool = False,
) -> UpdateSums:
    """Leave the gradient of one mini-batch in `module` and return sums over all ranks; `rows` are this rank's share."""
    responses = rollout.responses
    num_tokens = accelerator.reduce(responses.response_mask[rows].sum(), reduction="sum")
    gradients = gradients_of(accelerator, module)
    mini_batch = _MiniBatch(accelerator, gradients, module, rollout, settings, num_tokens)
    micro_batches = list(iterate_micro_batches(accelerator, responses, rows, settings.micro_batch_tokens))
    sums = UpdateSums.zeros(accelerator.device)
    for number, cut in enumerate(micro_batches, 1):
        # Backward before the next part's forward: parts may share layers, and never hold their activations together.
        with gradients.of_pass(is_last=False):  # the policy's wait for the critic's last ones
            policy_sums = mini_batch.policy_gradient(cut, measure_only=critic_only)
        with gradients.of_pass(is_last=number == len(micro_batches)):
            sums += replace(policy_sums, value_loss=mini_batch.critic_gradient(cut))
    return sums.reduced(accelerator)


@dataclass(frozen=True)
class _MiniBatch:
    """The mini-batch whose micro-batches, cuts of the rollout, are worked off."""

    accelerator: Accelerator
    gradients: Gradients
    module: nn.Module
    rollout: Rollout
    settings: UpdateSettings
    num_tokens: Tensor  # of all its rows on all ranks

    def policy_gradient(self, cut: "Cut", measure_only: bool) -> UpdateSums:
        """Add the policy's gradient of a micro-batch and return its sums, the value loss aside."""
        clip_range, mask = self.settings.clip_range, cut(self.rollout.responses.response_mask)
        old_log_probs, advantages = cut(self.rollout.measurements.log_probs), cut(self.rollout.advantages)
        with torch.set_grad_enabled(not measure_only):
            log_probs = self._forward(cut, "policy").log_probs
            assert log_probs is not None
            loss = policy_loss(log_probs, old_log_probs, advantages, mask, clip_range)
            if not measure_only:
                self._backward(loss)
        with torch.no_grad():
            ratio = policy_ratio(log_probs, old_log_probs, mask)
            deviation, clipped = (ratio - 1).abs().sum(), clipped_tokens(ratio, mask, clip_range)
            return UpdateSums(mask.sum(), loss.detach(), torch.zeros_like(loss), ratio[mask].sum(), deviation, clipped)

    def critic_gradient(self, cut: "Cut") -> Tensor:
        """Add the critic's gradient of a micro-batch and return its loss, summed over tokens."""
        values, mask = self._forward(cut, "critic").values, cut(self.rollout.responses.response_mask)
        assert values is not None
        old_values, returns = cut(self.rollout.measurements.values), cut(self.rollout.returns)
        loss = value_loss(values, old_values, returns, mask, self.settings.value_clip_range)
        self._backward(loss)
        return loss.detach()

    def _forward(self, cut: "Cut", part: TrainedPart) -> Outputs:
        responses = self.rollout.responses
        inputs = (cut(responses.token_ids), cut(responses.attention_mask), cut(responses.response_mask))
        return self.module(*inputs, self.settings.temperature, part=part)

    def _backward(self, loss: Tensor) -> None:
        # DDP, FSDP and DeepSpeed average gradients over ranks; the loss is divided by the tokens of all ranks already.
        self.gradients.backward(loss / self.num_tokens * self.accelerator.num_processes)


class Cut:
    """Some rows of a batch, up to the longest of them: turns a (B, T) tensor into one of a micro-batch."""

    def __init__(self, rows: list[int], length: int):
        self.rows = rows
        self.length = length

    def __call__(self, tensor: Tensor) -> Tensor:
        return tensor[self.rows, : self.length]


def iterate_micro_batches(
    accelerator: Accelerator, responses: Responses, rows: list[int], token_budget: int
) -> Iterator[Cut]:
    """Yield the micro-batches of `rows`, as many on every rank."""
    all_lengths = responses.lengths
    lengths = [all_lengths[row] for row in rows]
    needed = torch.tensor([len(split_by_tokens(lengths, token_budget))], device=accelerator.device)
    for group in split_by_tokens(lengths, token_budget, at_least=int(accelerator.gather(needed).max())):
        yield Cut([rows[index] for index in group], max(lengths[index] for index in group))


def _in_low_precision(accelerator: Accelerator, module: nn.Module) -> bool:
    """Return whether anything is computed below fp32, a frozen base in bf16 or four bits included."""
    all_whole = all(parameter.dtype == torch.float32 for parameter in module.parameters())
    return accelerator.mixed_precision != "no" or not all_whole


def _step(
    gradients: Gradients, optimizer: torch.optim.Optimizer, max_grad_norm: float, iteration: int, critic_only: bool
) -> dict[str, float]:
    """Clip policy and critic each on its own, so that a large value gradient cannot stop the policy; step; clear."""
    norms = {f"{part}_grad_norm": gradients.clip(part, max_grad_norm) for part in TRAINED_PARTS}
    check_finite(iteration, **norms)
    gradients.step(optimizer, critic_only)
    return norms


def _means(sums: UpdateSums) -> dict[str, float]:
    names = {"policy_loss": sums.policy_loss, "value_loss": sums.value_loss, "ratio": sums.ratio}
    names["clip_fraction"] = sums.clipped
    return {name: (total / sums.tokens).item() for name, total in names.items()}


def _mean_norms(norms: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(norm[name] for norm in norms) / len(norms) for name in norms[0]}
