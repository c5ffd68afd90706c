"""Decode by transformers' continuous batching: paged memory, and a waiting prompt takes an ended row's place.

For GPUs. It runs on a CPU too, where it was tried, about fifteen times slower than `chat_model.decoding`.
"""

import math
from collections.abc import Sequence
from typing import Any

from chat_model.decoding import DecodingSettings
from chat_model.errors import InputError

_PAGE_TOKENS = 256  # transformers' own; flash attention takes multiples of it


def decode_continuously(
    model: Any,
    prompt_ids: Sequence[list[int]],
    settings: DecodingSettings,
    seed: int,
    batch_tokens: int,
    progress: bool = False,
) -> list[list[int]]:
    """Return one response a prompt, its stop token included where one was drawn.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        prompt_ids: token ids of each prompt; may be none.
        seed: of the draws; torch's global random state is set to it.
        batch_tokens: tokens, of prompts and responses, whose keys and values are held at once; room for the longest row
            at least. Left to itself the engine would take most of the device's memory.

    Raises:
        InputError: the model is none that continuous batching can run.
        RuntimeError: the engine gave up on a prompt; out of memory, for example.
    """
    if not hasattr(model, "generate_batch"):
        raise InputError(f"engine: {type(model).__name__} knows no continuous batching; set engine: transformers")
    outputs = model.generate_batch(
        list(prompt_ids),
        generation_config=_generation_config(settings),
        continuous_batching_config=_memory_config(prompt_ids, settings, seed, batch_tokens),
        progress_bar=progress,
    )
    broken = [output.error for output in outputs.values() if output.error]
    missing = len(prompt_ids) - len(outputs)
    if broken or missing:
        raise RuntimeError(f"continuous batching: {len(broken)} prompts failed, {missing} are missing; {broken[:1]}")
    return [output.generated_tokens for output in outputs.values()]


def _memory_config(prompt_ids: Sequence[list[int]], settings: DecodingSettings, seed: int, batch_tokens: int) -> Any:
    from transformers import ContinuousBatchingConfig

    longest = max(map(len, prompt_ids), default=0) + settings.max_new_tokens
    num_blocks = math.ceil(max(batch_tokens, longest) / _PAGE_TOKENS)
    return ContinuousBatchingConfig(
        seed=seed, page_size=_PAGE_TOKENS, num_blocks=num_blocks, max_batch_tokens=min(batch_tokens, 8192)
    )


def _generation_config(settings: DecodingSettings) -> Any:
    from transformers import GenerationConfig

    drawing = {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        pad_token_id=settings.pad_token_id,
        eos_token_id=sorted(settings.stop_token_ids),
        **(drawing if settings.temperature > 0 else {"do_sample": False}),
    )
