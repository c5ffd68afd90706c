"""Bytes of one process of a stage that samples, and scores what it sampled."""

from collections.abc import Mapping
from typing import Any

from chat_model.model_size import ModelShape
from recipes.planner.memory import bytes_of

_REWARD_MODELS = ("helpfulness_reward_model", "safety_reward_model", "reward_model")


def sampling_memory(arguments: Mapping[str, Any], shape: ModelShape) -> dict[str, int]:
    """Return the parts of sampling: policy, cache of a batch, and reward models of the policy's architecture."""
    width = bytes_of(arguments.get("dtype", "float32"))
    num_scorers = sum(bool(arguments.get(name)) for name in _REWARD_MODELS)
    tokens = int(arguments.get("batch_tokens", 32_768))
    return {
        "weights": width * shape.causal_lm,
        "reward models": width * num_scorers * shape.classifier,
        "KV cache": shape.key_value_cache(tokens, width),
    }
