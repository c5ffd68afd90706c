"""What one step of a recipe will take on a named GPU: bytes of one process part by part, and seconds.

A plan, not a measurement: where every row is at `max_length` and every response at `max_new_tokens`. Steps whose
checkpoints do not exist yet are planned by the architecture that their chain starts from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chat_model.errors import InputError
from chat_model.model_size import FLOAT32_BYTES, ModelShape, read_shape
from recipes.chain import steps_of
from recipes.planner.activations import ACTIVATIONS, LAYER_AT_WORK
from recipes.planner.devices import Device
from recipes.planner.duration import (
    BANDWIDTH_USED,
    UTILISATION,
    Speed,
    pass_seconds,
    ppo_seconds,
    sampling_seconds,
    speed_of,
    training_passes,
)
from recipes.planner.layout import Layout, layout_of
from recipes.planner.lineage import origin_of
from recipes.planner.memory import bytes_of, precision_of, training_memory
from recipes.planner.ppo_memory import PROMPT_TOKENS, ppo_memory, sampling_bytes
from recipes.planner.rows import RowSizes, named_sources, sizes_of
from recipes.planner.sampling_memory import VLLM_WEIGHTS, sampling_memory
from recipes.recipe import Recipe
from recipes.step import Step

TRAINING = {"sft": False, "reward_model": True}  # module -> whether the model is scalar
PPO = "rlhf.ppo"
SAMPLING = (
    *("rlhf.preferences", "rlhf.rejection_sampling", "rlhf.evaluate", "rlhf.safety_evaluation"),
    *("gatt.synthesize", "gatt.evaluate", "gatt.context_distillation"),
)


@dataclass(frozen=True)
class Estimate:
    """The plan of one step. An empty `memory` means that the step runs no model, or that `why` it is not known."""

    memory: dict[str, int] = field(default_factory=dict)  # bytes of one process, by part
    seconds: float | None = None  # None: not known
    why: str = ""  # what the numbers rest on, or what they wait for

    @property
    def peak(self) -> int:
        """Bytes held at once. Update and sampling take turns; so do, in an update, the logits and the layer at work."""
        part = self.memory.get
        in_turn = {"KV cache", VLLM_WEIGHTS, "gradients", ACTIVATIONS, LAYER_AT_WORK, "logits"}
        always = sum(size for name, size in self.memory.items() if name not in in_turn)
        update = part("gradients", 0) + part(ACTIVATIONS, 0) + max(part("logits", 0), part(LAYER_AT_WORK, 0))
        return always + max(update, part("KV cache", 0) + part(VLLM_WEIGHTS, 0))

    def fits(self, device: Device) -> bool:
        """Whether the peak is within what a run may take of the device's memory."""
        return self.peak <= device.usable


def estimate(
    step: Step,
    recipe: Recipe,
    device: Device,
    utilisation: float = UTILISATION,
    bandwidth_used: float = BANDWIDTH_USED,
    steps: Sequence[Step] | None = None,
) -> Estimate:
    """Return what `step` will take in one process on `device`.

    Args:
        utilisation: share of the device's peak operations that training reaches.
        bandwidth_used: share of its memory bandwidth that sampling reaches.
        steps: all steps of the recipe, where they are at hand.

    Raises:
        InputError: a bad launch config or data file. An unknown architecture or an unreachable model is told in `why`.
    """
    if step.module not in (*TRAINING, PPO, *SAMPLING):
        return Estimate(why="runs no model")
    try:
        shape = shape_for(step, steps or steps_of(recipe))
    except InputError as error:
        return Estimate(why=str(error))
    layout = layout_of(recipe)
    if step.module in SAMPLING:
        shape, layout = shape.divided(recipe.tensor_parallel), layout.of_replicas(recipe.tensor_parallel)
    speed = speed_of(device, _in_fp32(step, layout), utilisation, bandwidth_used)
    unknown = (None, f"{device.name}: its speed is not known to the planner")
    return Estimate(_memory(step, shape, layout), *(unknown if speed is None else _seconds(step, shape, layout, speed)))


def shape_for(step: Step, steps: Sequence[Step]) -> ModelShape:
    """Return the shape of the model that a step trains or samples from. Raises InputError."""
    checkpoints = step.arguments.get("checkpoints") or [step.arguments.get("model_name_or_path")]
    if not checkpoints[0]:
        raise InputError(f"step '{step.name}': names no model_name_or_path")
    return read_shape(origin_of(str(checkpoints[0]), steps))


def _memory(step: Step, shape: ModelShape, layout: Layout) -> dict[str, int]:
    if step.module in TRAINING:
        return training_memory(step.arguments, shape, layout, TRAINING[step.module])
    if step.module == PPO:
        return ppo_memory(step.arguments, shape, layout)
    return sampling_memory(step.arguments, shape)


def _in_fp32(step: Step, layout: Layout) -> bool:
    if step.module in TRAINING:
        return precision_of(step.arguments) == "float32"
    if step.module == PPO:
        return layout.mixed_precision == "no" and sampling_bytes(step.arguments) == FLOAT32_BYTES
    return bytes_of(step.arguments.get("dtype", "float32")) == FLOAT32_BYTES


def _seconds(step: Step, shape: ModelShape, layout: Layout, speed: Speed) -> tuple[float | None, str]:
    if step.module in TRAINING:
        return _training_seconds(step.arguments, shape, layout, speed, TRAINING[step.module])
    prompts = sizes_of(named_sources(step.arguments, "prompts"))
    tokens = min(prompts.mean_tokens, shape.context) if prompts else PROMPT_TOKENS
    if step.module == PPO:
        seconds = ppo_seconds(step.arguments, shape, layout, speed, tokens, sampling_bytes(step.arguments))
        return seconds, f"prompts of {tokens:.0f} tokens, every response at its bound"
    return _sampling_seconds(step, shape, layout, speed, prompts, tokens)


def _training_seconds(
    arguments: Mapping[str, Any], shape: ModelShape, layout: Layout, speed: Speed, is_scalar: bool
) -> tuple[float | None, str]:
    sizes = sizes_of(named_sources(arguments, "dataset_name", "preferences"))
    length = int(arguments.get("max_length", 1024) or shape.context)
    passes = training_passes(arguments, default_checkpointing=True)

    def seconds(rows: float, tokens: float) -> float:
        dialogues = rows * (2 if is_scalar else 1) / layout.processes
        return pass_seconds(shape, dialogues, tokens, speed, passes, with_output=not is_scalar)

    if sizes is None:
        return None, f"its rows are not here as JSONL; {seconds(1000, length):.0f} s for 1,000 rows of {length} tokens"
    epochs = float(arguments.get("num_train_epochs", 3))
    tokens = min(sizes.mean_tokens, length)
    return epochs * seconds(sizes.rows, tokens), f"{sizes.rows} rows of about {tokens:.0f} tokens, {epochs:g} epochs"


def _sampling_seconds(
    step: Step, shape: ModelShape, layout: Layout, speed: Speed, prompts: RowSizes | None, prompt_tokens: float
) -> tuple[float | None, str]:
    arguments = step.arguments
    count = arguments.get("num_prompts") or arguments.get("num_dialogues") or (prompts.rows if prompts else None)
    if count is None:
        return None, "its prompts are not here as JSONL, and num_prompts is not given"
    responses = int(count) * _responses_a_prompt(step)
    new, together = int(arguments.get("max_new_tokens", 512)), int(arguments.get("batch_tokens", 32_768))
    width = bytes_of(arguments.get("dtype", "float32"))
    seconds = sampling_seconds(shape, responses / layout.processes, prompt_tokens, new, together, speed, width)
    return seconds, f"{responses} responses to prompts of {prompt_tokens:.0f} tokens, every one of {new}"


def _responses_a_prompt(step: Step) -> int:
    """Return how often a stage samples from one prompt: variants, K, checkpoints, or the turns of a dialogue."""
    arguments = step.arguments
    match step.module:
        case "rlhf.preferences":
            return 2
        case "gatt.context_distillation":
            return 1 + int(arguments.get("num_samples", 1))  # without the preprompt and with it
        case "rlhf.evaluate" | "rlhf.safety_evaluation":
            return len(arguments.get("checkpoints") or [0])
        case "gatt.evaluate":
            return max(arguments.get("turns") or [20])
        case "gatt.synthesize":
            return int(arguments.get("max_turns", 20)) * int(arguments.get("num_samples", 4))
        case _:
            return int(arguments.get("num_samples", 8))
