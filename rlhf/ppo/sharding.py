"""What PPO can honour of the ways in which Accelerate shards a model, and what it asks of them.

Whatever is refused here would train wrongly without a word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from chat_model.errors import InputError
from rlhf.ppo.config import PPOConfig

_FSDP2, _ZERO = "recipes/accelerate/fsdp2.yaml", "recipes/accelerate/zero3.yaml"
_OFFLOADS = ("offload_optimizer_device", "offload_param_device")


@dataclass(frozen=True)
class Sharding:
    """What PPO asks of the way in which Accelerate shards; defaults are Accelerate's own."""

    kind: str  # of `DistributedType`
    mixed_precision: str = "no"
    fsdp_version: int = 1
    cpu_ram_efficient_loading: bool = True
    zero_stage: int = 2
    offload_optimizer_device: str = "none"
    offload_param_device: str = "none"

    @classmethod
    def of_processes(cls, accelerator: Accelerator) -> "Sharding":
        """Return that of the processes that run."""
        kind, precision, state = accelerator.distributed_type.value, accelerator.mixed_precision, accelerator.state
        match accelerator.distributed_type:
            case DistributedType.FSDP:
                plugin = state.fsdp_plugin
                loading = plugin.cpu_ram_efficient_loading
                return cls(kind, precision, fsdp_version=plugin.fsdp_version, cpu_ram_efficient_loading=loading)
            case DistributedType.DEEPSPEED:
                plugin = state.deepspeed_plugin
                offloads = {name: str(getattr(plugin, name) or "none") for name in _OFFLOADS}
                return cls(kind, precision, zero_stage=plugin.zero_stage, **offloads)
        return cls(kind, precision)

    @classmethod
    def of_launch_config(cls, content: Mapping[str, Any]) -> "Sharding":
        """Return that which `accelerate launch` would set up by a launch config's content."""
        kind, precision = str(content.get("distributed_type", "NO")), str(content.get("mixed_precision", "no"))
        fsdp, zero = content.get("fsdp_config") or {}, content.get("deepspeed_config") or {}
        return cls(
            kind.upper(),
            precision,
            fsdp_version=int(fsdp.get("fsdp_version", cls.fsdp_version)),
            cpu_ram_efficient_loading=str(fsdp.get("fsdp_cpu_ram_efficient_loading", True)).lower() == "true",
            zero_stage=int(zero.get("zero_stage", cls.zero_stage)),
            **{name: str(zero.get(name) or "none") for name in _OFFLOADS},
        )


def set_up_sharding(accelerator: Accelerator, config: PPOConfig) -> None:
    """Check the kind of sharding and prepare it for PPO, before models are loaded.

    Raises:
        InputError: a kind that PPO cannot be run under; names what to launch with instead.
    """
    check_sharding(Sharding.of_processes(accelerator), config)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        from rlhf.ppo.zero import prepare_for_zero

        prepare_for_zero(accelerator)


def check_sharding(sharding: Sharding, config: PPOConfig) -> None:
    """Raise InputError, naming what to launch with instead, for what PPO cannot be run under."""
    if sharding.kind not in (DistributedType.FSDP.value, DistributedType.DEEPSPEED.value):
        return
    if config.layout == "shared_base":
        name = "FSDP2" if sharding.kind == DistributedType.FSDP.value else "DeepSpeed"
        raise InputError(
            f"layout: found shared_base under {name}; its one base serves every model, so each process holds it "
            "whole: launch with recipes/accelerate/multi_gpu.yaml, or set layout: full"
        )
    if sharding.kind == DistributedType.FSDP.value:
        _check_fsdp(sharding)
    else:
        _check_zero(sharding, config)


def whole_state(accelerator: Accelerator, module: nn.Module) -> dict[str, Tensor]:
    """Return on the main process the state dict of a prepared `TrainedModels`, weights whole; every rank must call."""
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        return accelerator.get_state_dict(module)
    from rlhf.ppo.zero import whole_fp32_state

    return whole_fp32_state(accelerator.unwrap_model(module), keep=accelerator.is_main_process)


def _check_fsdp(sharding: Sharding) -> None:
    """FSDP1 wraps what may be trained only in part."""
    if sharding.fsdp_version != 2:
        raise InputError(f"fsdp_version: found {sharding.fsdp_version}; expected 2, as in {_FSDP2}")
    if sharding.cpu_ram_efficient_loading:
        raise InputError(
            "fsdp_cpu_ram_efficient_loading: found true, which loads the reference and the reward models on the first "
            f"process only; expected false, as in {_FSDP2}"
        )


def _check_zero(sharding: Sharding, config: PPOConfig) -> None:
    if sharding.zero_stage not in (2, 3):
        raise InputError(f"zero_stage: found {sharding.zero_stage}; PPO runs under stages 2 and 3, as in {_ZERO}")
    for name in _OFFLOADS:
        if (device := getattr(sharding, name)) != "none":
            raise InputError(f"{name}: found {device}; PPO runs under DeepSpeed without offloading, as in {_ZERO}")
    if sharding.mixed_precision == "fp16":
        raise InputError("mixed_precision: found fp16 under DeepSpeed; expected bf16 or no")
    if sharding.mixed_precision == "bf16" and config.frozen_dtype != "bfloat16":
        raise InputError(
            f"frozen_dtype: found {config.frozen_dtype} under DeepSpeed in bf16, which computes with weights in bf16; "
            "expected bfloat16, or the reference would differ from an equal policy by its rounding"
        )
