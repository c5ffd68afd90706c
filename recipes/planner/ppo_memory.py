"""Bytes of one process of PPO in either layout; `rlhf.ppo` counts the same parts on the very models when it starts."""

from collections.abc import Mapping
from typing import Any

from chat_model.model_size import FLOAT32_BYTES, ModelShape, chunk_size, four_bit_bytes, logits_bytes
from recipes.planner.activations import Precision, activation_parts
from recipes.planner.layout import Layout
from recipes.planner.memory import bytes_of
from recipes.planner.sampling_memory import engine_memory

_MICRO_BATCH_TOKENS, _SAMPLE_BATCH_TOKENS, _LORA_RANK = 16_384, 32_768, 16  # the defaults of `rlhf.ppo.config`
PROMPT_TOKENS = 256  # of a prompt, where nothing says how long they are; assumed


def ppo_memory(arguments: Mapping[str, Any], shape: ModelShape, layout: Layout) -> dict[str, int]:
    """Return the parts of PPO; see `Estimate.peak` for those that take turns."""
    is_shared = arguments.get("layout") == "shared_base"
    parts = _shared_base(arguments, shape) if is_shared else _full(arguments, shape, layout)
    divided = {"trained weights": layout.weights, "gradients": layout.gradients, "optimizer": layout.optimizer}
    parts = {name: layout.share(size, divided.get(name, False)) for name, size in parts.items()}
    tokens = int(arguments.get("micro_batch_tokens", _MICRO_BATCH_TOKENS))
    checkpointing = bool(arguments.get("gradient_checkpointing"))
    low: Precision = "bfloat16" if layout.casts else "autocast"
    precision = low if layout.mixed_precision == "bf16" else "float32"
    parts |= activation_parts(shape, tokens, precision, checkpointing, _padded(arguments))
    parts["logits"] = logits_bytes(min(chunk_size(shape.vocabulary, "cuda"), tokens), shape.vocabulary)
    sampled = int(arguments.get("sample_batch_tokens", _SAMPLE_BATCH_TOKENS))
    return parts | engine_memory(arguments, shape, sampled, sampling_bytes(arguments))


def _padded(arguments: Mapping[str, Any]) -> int:
    """Return the tokens that rows are padded to: a prompt and the longest response."""
    return int(arguments.get("max_prompt_tokens") or PROMPT_TOKENS) + int(arguments.get("max_new_tokens", 512))


def sampling_bytes(arguments: Mapping[str, Any]) -> int:
    """Return the bytes of a number in the policy that samples: trained whole it is in fp32, else its base decides."""
    is_shared = arguments.get("layout") == "shared_base"
    return bytes_of(arguments.get("frozen_dtype", "float32")) if is_shared else FLOAT32_BYTES


def _full(arguments: Mapping[str, Any], shape: ModelShape, layout: Layout) -> dict[str, int]:
    """Policy and critic in fp32, or by DeepSpeed in 16 bits with masters in fp32; the other models frozen."""
    trained = FLOAT32_BYTES * (shape.causal_lm + shape.classifier)
    frozen = bytes_of(arguments.get("frozen_dtype", "float32")) * (shape.causal_lm + 2 * shape.classifier)
    parts = {"trained weights": trained, "frozen weights": frozen, "gradients": trained, "optimizer": 2 * trained}
    return parts | ({"trained weights": trained // 2, "optimizer": 3 * trained} if layout.casts else {})


def _shared_base(arguments: Mapping[str, Any], shape: ModelShape) -> dict[str, int]:
    """One frozen base; adapters of policy, critic and both reward models, all taken to be of the policy's rank."""
    adapter = shape.lora(int(arguments.get("lora_r", _LORA_RANK)), arguments.get("lora_target_modules", ["all-linear"]))
    count = 5 if arguments.get("policy_adapter") else 4  # with the reference's
    trained = FLOAT32_BYTES * (2 * adapter + shape.hidden)
    linear = shape.linear_weights if arguments.get("load_in_4bit") else 0
    base = four_bit_bytes(shape.causal_lm, linear, bytes_of(arguments.get("frozen_dtype", "float32")))
    adapters = FLOAT32_BYTES * (count * adapter + 3 * shape.hidden)
    return {"frozen weights": base, "adapters": adapters, "gradients": trained, "optimizer": 2 * trained}
