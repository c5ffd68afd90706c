"""Bytes of one process of a stage that samples, and scores what it sampled."""

from collections.abc import Mapping
from typing import Any

from chat_model.model_size import ModelShape
from recipes.planner.memory import bytes_of

VLLM_WEIGHTS = "vLLM's weights"  # a second copy of the policy, held while it samples and no longer
_REWARD_MODELS = ("helpfulness_reward_model", "safety_reward_model", "reward_model")


def sampling_memory(arguments: Mapping[str, Any], shape: ModelShape) -> dict[str, int]:
    """Return the parts of sampling: policy, cache of a batch, and reward models of the policy's architecture."""
    width = bytes_of(arguments.get("dtype", "float32"))
    num_scorers = sum(bool(arguments.get(name)) for name in _REWARD_MODELS)
    tokens = int(arguments.get("batch_tokens", 32_768))
    return {
        "weights": width * shape.causal_lm,
        "reward models": width * num_scorers * shape.classifier,
        **engine_memory(arguments, shape, tokens, width),
    }


def engine_memory(arguments: Mapping[str, Any], shape: ModelShape, tokens: int, width: int) -> dict[str, int]:
    """Return what an engine takes of this process's device while it samples; a vLLM server has devices of its own.

    Args:
        tokens: whose keys and values it holds; colocated vLLM takes what ROUNDS_VLLM_MEMORY says, if that is more.
        width: bytes of a number.
    """
    engine = arguments.get("engine", "transformers")
    if engine == "vllm":
        return {}
    copy = {VLLM_WEIGHTS: width * shape.causal_lm} if engine == "vllm_colocated" else {}
    return {**copy, "KV cache": shape.key_value_cache(tokens, width)}
