"""How a mini-batch's gradients come together over its backward passes and ranks, are clipped, and become a step.

An update makes a backward pass for the policy and one for the critic in each micro-batch, and one step a mini-batch.
What trains on several processes has to be told of each: PyTorch's DDP and FSDP2 here, DeepSpeed in `zero.py`.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from rlhf.ppo.models.interface import TrainedPart


class Gradients(Protocol):
    """The gradients of a prepared `TrainedModels`."""

    def of_pass(self, is_last: bool) -> AbstractContextManager:
        """Surround a forward and a backward pass; `is_last`: of the mini-batch."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`, whose mean over ranks is what counts."""

    def clip(self, part: TrainedPart, max_norm: float) -> float:
        """Bound the norm of policy or critic, over all ranks, and return what it was before."""

    def step(self, optimizer: torch.optim.Optimizer, critic_only: bool) -> None:
        """Take a step and clear the gradients; `critic_only` leaves the policy's weights and moments as they are."""


def gradients_of(accelerator: Accelerator, module: nn.Module) -> Gradients:
    """Return the gradients of `module` in the way of what `accelerator` prepared it for."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        from rlhf.ppo.zero import ZeroGradients

        return ZeroGradients(accelerator.unwrap_model(module), module)
    return TorchGradients(accelerator, module)


@dataclass(frozen=True)
class TorchGradients:
    """On one process, under DDP and under FSDP2; see `Gradients`."""

    accelerator: Accelerator
    module: nn.Module

    def of_pass(self, is_last: bool) -> AbstractContextManager:
        """Let gradients meet over ranks in the last backward pass of a mini-batch only; under FSDP2 in every one, where
        waiting would hold the gradients of all weights whole on each rank."""
        return nullcontext() if is_last or self.accelerator.is_fsdp2 else self.accelerator.no_sync(self.module)

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def clip(self, part: TrainedPart, max_norm: float) -> float:
        return float(self.accelerator.clip_grad_norm_(self._parameters_of(part), max_norm))

    def step(self, optimizer: torch.optim.Optimizer, critic_only: bool) -> None:
        if critic_only:  # AdamW passes over parameters without a gradient: no decay, no moments, no step count
            for parameter in self._parameters_of("policy"):
                parameter.grad = None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _parameters_of(self, part: TrainedPart) -> list[nn.Parameter]:
        return self.accelerator.unwrap_model(self.module).parameters_of(part)
