"""PPO's metrics in a tracker, beside `metrics.jsonl`: trackio, TensorBoard or Weights & Biases, through Accelerate.

SFT and reward models need nothing of ours for this: their trainers take TRL's `report_to`.
"""

from dataclasses import asdict

from accelerate import Accelerator
from accelerate.utils import is_tensorboard_available, is_trackio_available, is_wandb_available

from chat_model.errors import InputError, suggestion
from rlhf.ppo.config import PPOConfig

_AVAILABLE = {"tensorboard": is_tensorboard_available, "trackio": is_trackio_available, "wandb": is_wandb_available}
_PROJECT = "rounds"


def trackers_of(config: PPOConfig) -> list[str]:
    """Return the trackers that `config` names; as in TRL's trainers, ``none`` is none.

    Raises:
        InputError: one that is unknown or not installed.
    """
    names = [name for name in config.report_to if name != "none"]
    for name in names:
        if name not in _AVAILABLE:
            hint = suggestion(name, _AVAILABLE)
            raise InputError(f"report_to: found '{name}'; expected some of {', '.join(_AVAILABLE)}{hint}")
        if not _AVAILABLE[name]():
            raise InputError(f"report_to: {name} is not installed; install it with: pip install {name}")
    return names


def start_trackers(accelerator: Accelerator, config: PPOConfig) -> None:
    """Open the trackers that `accelerator` was made with, the plain values of `config` as the run's configuration."""
    if accelerator.log_with:
        plain = {name: value for name, value in asdict(config).items() if isinstance(value, (bool, int, float, str))}
        accelerator.init_trackers(_PROJECT, config=plain)


def finish_trackers(accelerator: Accelerator) -> None:
    """Close them; unlike Accelerate's `end_training`, leave the process group to the stage."""
    for tracker in accelerator.trackers:
        tracker.finish()
