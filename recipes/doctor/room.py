"""Whether a recipe has room: memory of the device for every step, and disk for the checkpoints that they leave."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from chat_model.check_up import CheckUp
from chat_model.errors import InputError
from chat_model.loading import TINY
from chat_model.model_size import FLOAT32_BYTES
from recipes.doctor.models import models_of, why_unreadable
from recipes.planner.devices import GIB, Device
from recipes.planner.estimate import PPO, TRAINING, Estimate, estimate, shape_for
from recipes.planner.lineage import origin_of
from recipes.planner.memory import bytes_of
from recipes.recipe import Recipe
from recipes.step import Step

_STATES = 3  # numbers of a parameter in a checkpoint that training can go on from: itself and AdamW's two moments


def check_memory(check_up: CheckUp, step: Step, recipe: Recipe, device: Device, steps: Sequence[Step]) -> None:
    """Check that the planned peak of a step fits the device."""
    if name := _unreadable_origin(step, steps):
        check_up.waiting["memory plan"] = f"the config of {name}"
        return
    with check_up.check(
        "memory plan",
        "the step would run out of memory, at worst after hours, at its first long batch",
        "lower the batch or max_length, set gradient_checkpointing, use_peft or load_in_4bit, shard over more GPUs "
        "(accelerate), or name the device that it will run on with --device",
    ):
        plan = estimate(step, recipe, device, steps=steps)
        if not plan.memory and step.module in (*TRAINING, PPO):
            check_up.waiting["memory plan"] = plan.why
        _refuse_too_large(plan, device)


def _refuse_too_large(plan: Estimate, device: Device) -> None:
    if not plan.fits(device):
        largest = max(plan.memory, key=lambda name: plan.memory[name])
        raise InputError(
            f"{plan.peak / GIB:.1f} GiB are planned, {device.name} has room for {device.usable / GIB:.1f}; the "
            f"largest part is {largest} with {plan.memory[largest] / GIB:.1f}"
        )


def check_disk(check_up: CheckUp, steps_to_run: Sequence[Step], root: Path, steps: Sequence[Step]) -> None:
    """Check that the disk of the output root holds what the steps that have to run will write."""
    with check_up.check(
        "disk space",
        "a run that fills the disk ends while it saves, after its training",
        "make room, choose another --output, set save_total_limit, or save_strategy: 'no'",
    ):
        needed = sum(checkpoint_bytes(step, steps) for step in steps_to_run)
        existing = next(folder for folder in (root, *root.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        if needed > free:
            raise InputError(
                f"{existing}: {needed / GIB:.1f} GiB of checkpoints are planned, {free / GIB:.1f} are free"
            )


def checkpoint_bytes(step: Step, steps: Sequence[Step]) -> int:
    """Return the bytes that a step's checkpoints take at once; 0 for steps that leave none, or of unknown size."""
    if step.module not in (*TRAINING, PPO) or _unreadable_origin(step, steps):
        return 0
    try:
        shape = shape_for(step, steps)
    except InputError:
        return 0
    arguments = step.arguments
    if step.module == PPO:
        both = FLOAT32_BYTES * (shape.causal_lm + shape.classifier)
        return FLOAT32_BYTES * shape.causal_lm + (_STATES * both if arguments.get("save_every", 20) else 0)
    total = shape.classifier if TRAINING[step.module] else shape.causal_lm
    weights = bytes_of(arguments.get("dtype", "float32")) * total
    keeps = arguments.get("save_strategy", "steps") != "no"
    return weights + keeps * int(arguments.get("save_total_limit") or 1) * _STATES * weights


def _unreadable_origin(step: Step, steps: Sequence[Step]) -> str | None:
    """Return the model that a step's line starts from if it cannot be read, so that nobody waits for the hub again."""
    for name in models_of(step)[:1]:
        origin = origin_of(name, steps)
        if not origin.startswith(TINY) and why_unreadable(origin):
            return origin
    return None
