"""What PPO can honour of the ways in which Accelerate shards a model; the others would train wrongly without a word."""

from accelerate import Accelerator
from accelerate.utils import DistributedType

from chat_model.errors import InputError
from rlhf.ppo.config import PPOConfig

_CONFIG = "recipes/accelerate/fsdp2.yaml"


def check_sharding(accelerator: Accelerator, config: PPOConfig) -> None:
    """Raise InputError, naming what to launch with instead, for a kind of sharding that PPO cannot be run under.

    DeepSpeed takes its optimiser's step inside the backward pass, of which an update has one for the policy and one for
    the critic in each micro-batch; FSDP1 wraps what may be trained only in part.
    """
    kind = accelerator.distributed_type
    if kind == DistributedType.DEEPSPEED:
        raise InputError(f"DeepSpeed takes a step in every backward pass, and PPO has several: launch with {_CONFIG}")
    if kind != DistributedType.FSDP:
        return
    plugin = accelerator.state.fsdp_plugin
    if plugin.fsdp_version != 2:
        raise InputError(f"fsdp_version: found {plugin.fsdp_version}; expected 2, as in {_CONFIG}")
    if plugin.cpu_ram_efficient_loading:
        raise InputError(
            "fsdp_cpu_ram_efficient_loading: found true, which loads the reference and the reward models on the first "
            f"process only; expected false, as in {_CONFIG}"
        )
    if config.layout == "shared_base":
        raise InputError(
            "layout: found shared_base under FSDP2; its one base serves every model, so each process holds it whole: "
            "launch with recipes/accelerate/multi_gpu.yaml, or set layout: full"
        )
