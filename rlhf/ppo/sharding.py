"""What PPO can honour of the ways in which Accelerate shards a model, and what it asks of them.

Whatever is refused here would train wrongly without a word.
"""

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from chat_model.errors import InputError
from rlhf.ppo.config import PPOConfig

_FSDP2, _ZERO = "recipes/accelerate/fsdp2.yaml", "recipes/accelerate/zero3.yaml"


def set_up_sharding(accelerator: Accelerator, config: PPOConfig) -> None:
    """Check the kind of sharding and prepare it for PPO, before models are loaded.

    Raises:
        InputError: a kind that PPO cannot be run under; names what to launch with instead.
    """
    kind = accelerator.distributed_type
    if kind not in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return
    if config.layout == "shared_base":
        name = "FSDP2" if kind == DistributedType.FSDP else "DeepSpeed"
        raise InputError(
            f"layout: found shared_base under {name}; its one base serves every model, so each process holds it "
            "whole: launch with recipes/accelerate/multi_gpu.yaml, or set layout: full"
        )
    if kind == DistributedType.FSDP:
        _check_fsdp(accelerator)
    else:
        _check_zero(accelerator, config)
        from rlhf.ppo.zero import prepare_for_zero

        prepare_for_zero(accelerator)


def whole_state(accelerator: Accelerator, module: nn.Module) -> dict[str, Tensor]:
    """Return on the main process the state dict of a prepared `TrainedModels`, weights whole; every rank must call."""
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        return accelerator.get_state_dict(module)
    from rlhf.ppo.zero import whole_fp32_state

    return whole_fp32_state(accelerator.unwrap_model(module), keep=accelerator.is_main_process)


def _check_fsdp(accelerator: Accelerator) -> None:
    """FSDP1 wraps what may be trained only in part."""
    plugin = accelerator.state.fsdp_plugin
    if plugin.fsdp_version != 2:
        raise InputError(f"fsdp_version: found {plugin.fsdp_version}; expected 2, as in {_FSDP2}")
    if plugin.cpu_ram_efficient_loading:
        raise InputError(
            "fsdp_cpu_ram_efficient_loading: found true, which loads the reference and the reward models on the first "
            f"process only; expected false, as in {_FSDP2}"
        )


def _check_zero(accelerator: Accelerator, config: PPOConfig) -> None:
    plugin = accelerator.state.deepspeed_plugin
    if plugin.zero_stage not in (2, 3):
        raise InputError(f"zero_stage: found {plugin.zero_stage}; PPO runs under stages 2 and 3, as in {_ZERO}")
    for name in ("offload_optimizer_device", "offload_param_device"):
        if (device := getattr(plugin, name)) not in (None, "none"):
            raise InputError(f"{name}: found {device}; PPO runs under DeepSpeed without offloading, as in {_ZERO}")
    if accelerator.mixed_precision == "fp16":
        raise InputError("mixed_precision: found fp16 under DeepSpeed; expected bf16 or no")
    if accelerator.mixed_precision == "bf16" and config.frozen_dtype != "bfloat16":
        raise InputError(
            f"frozen_dtype: found {config.frozen_dtype} under DeepSpeed in bf16, which computes with weights in bf16; "
            "expected bfloat16, or the reference would differ from an equal policy by its rounding"
        )
