"""Seconds of a step on a named GPU: operations against its peak, and in sampling bytes against its bandwidth.

Training takes three forward passes' operations a token (forward 1, backward 2), four with gradient checkpointing
(Korthikanti et al. 2022, section 5). Sampling reads the weights and the cache once a token (Pope et al. 2022, section
3). What share of the peak is reached is assumed, not measured: `UTILISATION` of the operations, as well-tuned training
of such models reaches, and `BANDWIDTH_USED` of the bandwidth, since an eager loop also waits for its kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chat_model.model_size import ModelShape
from recipes.planner.devices import Device
from recipes.planner.layout import Layout

UTILISATION = 0.4
BANDWIDTH_USED = 0.3


@dataclass(frozen=True)
class Speed:
    """What the planner takes a device to do in a second."""

    operations: float
    bandwidth: float


def speed_of(device: Device, in_fp32: bool, utilisation: float, bandwidth_used: float) -> Speed | None:
    """Return the speed of a device at the assumed utilisation, or None for one that the table does not know."""
    peak = device.fp32_operations if in_fp32 else device.bf16_operations
    if peak is None or device.bandwidth is None:
        return None
    return Speed(peak * utilisation, device.bandwidth * bandwidth_used)


def pass_seconds(
    shape: ModelShape, rows: float, length: float, speed: Speed, passes: float, with_output: bool
) -> float:
    """Return the seconds of `passes` forward passes over rows of `length` tokens; causal, so half a row is attended to.

    Args:
        passes: 1 forward, 3 forward and backward, 4 with gradient checkpointing.
        with_output: whether the output layer is computed.
    """
    tokens = int(rows * length)
    operations = shape.forward_operations(tokens, length / 2)
    operations += shape.output_operations(tokens) if with_output else 0
    return passes * operations / speed.operations


def sampling_seconds(
    shape: ModelShape, rows: float, prompt: float, new: int, batch_tokens: int, speed: Speed, weight_bytes: int
) -> float:
    """Return the seconds of sampling `new` tokens a row behind `prompt` tokens, all responses taken to be that long."""
    together = max(1.0, min(rows, batch_tokens // (prompt + new)))
    batches = rows / together
    reading = pass_seconds(shape, rows, prompt, speed, passes=1, with_output=False)
    cache = shape.key_value_cache(int(together * (prompt + new / 2)), weight_bytes)
    step = (shape.causal_lm * weight_bytes + cache) / speed.bandwidth
    return reading + batches * new * step


def training_passes(arguments: Mapping[str, Any], default_checkpointing: bool) -> int:
    """Return the forward passes' worth of operations that a training step takes."""
    return 4 if arguments.get("gradient_checkpointing", default_checkpointing) else 3


def ppo_seconds(
    arguments: Mapping[str, Any],
    shape: ModelShape,
    layout: Layout,
    speed: Speed,
    prompt_tokens: float,
    weight_bytes: int,
) -> float:
    """Return the seconds of a PPO run: each iteration samples, measures with five models and trains two."""
    responses = int(arguments.get("batch_size", 512)) / layout.processes
    new = int(arguments.get("max_new_tokens", 512))
    tokens_together = int(arguments.get("sample_batch_tokens", 32_768))
    length = prompt_tokens + new
    sampling = sampling_seconds(shape, responses, prompt_tokens, new, tokens_together, speed, weight_bytes)
    measuring = pass_seconds(shape, responses, length, speed, passes=5, with_output=False)
    passes = 2 * training_passes(arguments, default_checkpointing=False) * int(arguments.get("num_epochs", 1))
    training = pass_seconds(shape, responses, length, speed, passes, with_output=False)
    return int(arguments.get("num_iterations", 200)) * (sampling + measuring + training)
