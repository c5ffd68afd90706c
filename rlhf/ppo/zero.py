"""PPO under DeepSpeed's ZeRO, stages 2 and 3, where gradients and moments are divided among ranks, and weights too.

Accelerate's own ``backward`` takes DeepSpeed's step in every backward pass. An update has two in each micro-batch, so
here the engine is told which one is the last of its mini-batch, and the step is a call of its own. Between the two,
policy and critic are clipped each on its own by DeepSpeed's functions for gradients; its own clip, of both, is off.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers.integrations import unset_hf_deepspeed_config

from rlhf.ppo.models.interface import TrainedModels, TrainedPart


def prepare_for_zero(accelerator: Accelerator) -> None:
    """Set what PPO needs of DeepSpeed, before models are loaded and prepared; whatever the launch config says of it."""
    settings = accelerator.deepspeed_plugin.deepspeed_config
    settings["gradient_clipping"] = 0.0  # over both parts; see `ZeroGradients.clip`
    settings["train_micro_batch_size_per_gpu"] = 1  # has to be a number, and means nothing: there is no data loader
    settings["data_types"] = {"grad_accum_dtype": "fp32"}  # sums over many passes, in bf16 too
    unset_hf_deepspeed_config()  # or transformers would shard the frozen models, too, which nothing gathers again


def whole_fp32_state(models: TrainedModels, keep: bool) -> dict[str, Tensor]:
    """Return the state dict on CPU, with the optimiser's weights, in fp32; nothing where not `keep`.

    Every rank must call. A weight that two layers share is one tensor under two names, as in `state_dict`.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    whole = {}
    for parameter in models.parameters():
        gathered = safe_get_full_fp32_param(parameter)
        if keep:
            whole[parameter] = gathered.cpu()
    parameters = dict(models.named_parameters(remove_duplicate=False))
    return {name: whole.get(parameters.get(name), held) for name, held in models.state_dict().items()} if keep else {}


@dataclass(frozen=True)
class ZeroGradients:
    """Gradients that a DeepSpeed engine holds; see `Gradients`."""

    models: TrainedModels
    engine: Any  # deepspeed.DeepSpeedEngine around them

    @contextlib.contextmanager
    def of_pass(self, is_last: bool) -> Iterator[None]:
        self.engine.set_gradient_accumulation_boundary(is_boundary=is_last)
        yield

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss)

    def clip(self, part: TrainedPart, max_norm: float) -> float:
        from deepspeed.utils import safe_get_full_grad, safe_set_full_grad

        parameters = self.models.parameters_of(part)
        norms = [torch.linalg.vector_norm(safe_get_full_grad(parameter)) for parameter in parameters]
        norm = torch.linalg.vector_norm(torch.stack(norms)).item()
        if (scale := max_norm / (norm + 1e-6)) < 1:  # as torch's clip_grad_norm_
            for parameter in parameters:
                safe_set_full_grad(parameter, safe_get_full_grad(parameter) * scale)
        return norm

    def step(self, optimizer: torch.optim.Optimizer, critic_only: bool) -> None:
        with _policy_at_rest(self.engine.optimizer.optimizer) if critic_only else contextlib.nullcontext():
            self.engine.step()
        self._clear()

    def _clear(self) -> None:
        """Clear what ZeRO-3 holds of gradients: the first backward pass of a mini-batch overwrites those that it makes,
        the others add to what is there, so that the critic's would come on top of those of the mini-batch before."""
        from deepspeed.utils import safe_set_local_grad

        for parameter in self.models.parameters():
            if hasattr(parameter, "ds_tensor"):
                safe_set_local_grad(parameter, torch.zeros_like(parameter.ds_tensor))


@contextlib.contextmanager
def _policy_at_rest(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Keep the policy's groups of DeepSpeed's inner optimiser from moving: AdamW passes over what has no gradient."""

    def drop_gradients(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            if group["part"] == "policy":
                for shard in group["params"]:
                    shard.grad = None

    hook = optimizer.register_step_pre_hook(drop_gradients)
    try:
        yield
    finally:
        hook.remove()
