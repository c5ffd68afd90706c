"""Bytes of one process at the peak of training, part by part; PPO's and sampling's stand in modules of their own."""

from collections.abc import Mapping
from typing import Any

from chat_model.model_size import BFLOAT16_BYTES, FLOAT32_BYTES, ModelShape, four_bit_bytes
from recipes.planner.activations import Precision, activation_parts
from recipes.planner.layout import Layout

_BYTES = {"float32": FLOAT32_BYTES, "bfloat16": BFLOAT16_BYTES, "float16": BFLOAT16_BYTES}
_TILE = (4096, 32_768)  # the most tokens, and the width, of the logits TRL 1.16 holds (trl.kernels.chunked_logprob)


def bytes_of(dtype: str | None) -> int:
    """Return the bytes of a number of a dtype by name; "auto" and none count as bfloat16, as most checkpoints are."""
    return _BYTES.get(str(dtype), BFLOAT16_BYTES)


def precision_of(arguments: Mapping[str, Any], default: bool = True) -> Precision:
    """Return what a training stage computes in: TRL takes bf16 where nothing is said and there is an accelerator."""
    if bytes_of(arguments.get("dtype", "float32")) == BFLOAT16_BYTES:
        return "bfloat16"
    low = arguments.get("bf16", default) or arguments.get("fp16", False)
    return "autocast" if low and not arguments.get("use_cpu") else "float32"


def training_memory(arguments: Mapping[str, Any], shape: ModelShape, layout: Layout, is_scalar: bool) -> dict[str, int]:
    """Return the parts of supervised fine-tuning, or with `is_scalar` of a reward model; see `Estimate.peak`."""
    total = shape.classifier if is_scalar else shape.causal_lm
    trained = lora_parameters(arguments, shape, is_scalar)
    weight_bytes = BFLOAT16_BYTES if layout.casts else bytes_of(arguments.get("dtype", "float32"))
    linear = shape.linear_weights if arguments.get("load_in_4bit") else 0
    parts = {"weights": layout.share(four_bit_bytes(total, linear, weight_bytes), layout.weights)}
    if trained is None:
        trained, trained_bytes = total, weight_bytes
    else:
        trained_bytes = BFLOAT16_BYTES if layout.casts else FLOAT32_BYTES
        parts["adapter"] = layout.share(trained * trained_bytes, layout.weights)
    gradients = layout.share(trained * trained_bytes, layout.gradients)
    parts["gradients"] = gradients
    parts["optimizer"] = layout.share(trained * _optimizer_bytes(arguments, layout, trained_bytes), layout.optimizer)
    parts |= _copies(arguments, shape, layout, gradients, is_trained_whole=trained == total)
    return parts | _of_a_micro_batch(arguments, shape, layout, is_scalar, trained == total)


def lora_parameters(arguments: Mapping[str, Any], shape: ModelShape, is_scalar: bool) -> int | None:
    """Return the parameters of the adapter that a stage trains, or None where the whole model is trained."""
    if not arguments.get("use_peft"):
        return None
    saved = [*(arguments.get("lora_modules_to_save") or []), *(["score"] if is_scalar else [])]
    return shape.lora(int(arguments.get("lora_r") or 16), _lora_targets(arguments), saved)


def _lora_targets(arguments: Mapping[str, Any]) -> list[str] | None:
    targets = arguments.get("lora_target_modules")
    return [targets] if isinstance(targets, str) else targets


def _optimizer_bytes(arguments: Mapping[str, Any], layout: Layout, trained_bytes: int) -> int:
    """Return the bytes of AdamW's two moments of one parameter; torch keeps them in the parameter's precision.

    DeepSpeed's mixed precision keeps them in fp32, and the parameter itself beside them.
    """
    master, width = (FLOAT32_BYTES, FLOAT32_BYTES) if layout.casts else (0, trained_bytes)
    return master + (2 if "8bit" in str(arguments.get("optim", "")) else 2 * width)


def _copies(
    arguments: Mapping[str, Any], shape: ModelShape, layout: Layout, gradients: int, is_trained_whole: bool
) -> dict[str, int]:
    """Return what is held twice: low-precision copies, gathered shards, and what DDP sends."""
    parts = {}
    is_autocast = precision_of(arguments) == "autocast"
    if layout.shards:
        unit = max(shape.linear_weights // shape.layers, shape.embedding)
        width = bytes_of(arguments.get("dtype", "float32")) if not is_autocast else BFLOAT16_BYTES
        parts["gathered weights"] = 2 * unit * width  # of the layer at work and of the one fetched ahead
    elif is_autocast and not layout.casts:
        layers = shape.layers if is_trained_whole or not arguments.get("gradient_checkpointing", True) else 1
        parts["bf16 copies"] = shape.linear_weights * layers // shape.layers * BFLOAT16_BYTES
    if layout.processes > 1 and not layout.gradients:
        parts["gradient buckets"] = gradients
    return parts


def _of_a_micro_batch(
    arguments: Mapping[str, Any], shape: ModelShape, layout: Layout, is_scalar: bool, is_trained_whole: bool
) -> dict[str, int]:
    tokens = micro_batch_tokens(arguments, shape, layout, is_scalar)
    arguments = {**arguments, "dtype": "bfloat16"} if layout.casts else arguments
    precision, dropped = precision_of(arguments), 0
    if not is_trained_whole:
        precision = precision_of({**arguments, "dtype": "float32"}) if not layout.casts else precision
        dropped = shape.lora_inputs(_lora_targets(arguments)) if arguments.get("lora_dropout", 0.05) else 0
    checkpointing = bool(arguments.get("gradient_checkpointing", True))
    padded = 0 if arguments.get("packing") else int(arguments.get("max_length", 1024) or shape.context)
    parts = activation_parts(shape, tokens, precision, checkpointing, padded, dropped)
    if not is_scalar:
        width = FLOAT32_BYTES if precision == "float32" else BFLOAT16_BYTES
        tile = min(tokens, _TILE[0]) * _TILE[1] * width  # as wide for a smaller vocabulary
        parts["logits"] = tile + is_trained_whole * shape.embedding * FLOAT32_BYTES
    return parts


def micro_batch_tokens(arguments: Mapping[str, Any], shape: ModelShape, layout: Layout, is_scalar: bool) -> int:
    """Return the tokens of the largest micro-batch: every row at `max_length`."""
    length = arguments.get("max_length", 1024) or shape.context
    rows = int(arguments.get("per_device_train_batch_size", 8))
    tokens = rows * int(length) * (2 if is_scalar else 1)
    if not is_scalar or layout.shards:
        return tokens
    return min(tokens, max(int(arguments.get("train_batch_tokens", 4096)), 2 * int(length)))
