"""Sample by vLLM inside the processes that train, by TRL's `VLLMGeneration`: one engine on each GPU, no server.

Between two samplings the engine sleeps, its weights and cache given back to the training. It wakes with the newest
weights, adapters added without touching the base, and its log-probabilities are compared with the model's each time.
Each GPU must hold the whole model twice while it samples; a model too large for that waits behind a server
(`chat_model.vllm`). What of a GPU the engine may take is not a setting of a stage, because results do not depend on it:
the environment variable ``ROUNDS_VLLM_MEMORY`` says it. Draws are vLLM's own and follow no seed of ours.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from chat_model.decoding import DecodingSettings
from chat_model.errors import InputError
from chat_model.merged_weights import merged_weights
from chat_model.processes import on_cpu_only
from chat_model.vllm import check_log_probs

MEMORY_VARIABLE, DEFAULT_MEMORY = "ROUNDS_VLLM_MEMORY", "0.3"
_engines: dict[tuple, Any] = {}  # by the shapes of a model's weights: starting one takes minutes


def decode_by_colocated_vllm(
    model: Any, prompt_ids: Sequence[list[int]], settings: DecodingSettings
) -> list[list[int]]:
    """Return one response a prompt, its stop token included where one was drawn.

    Every process calls this with prompts of its own, the first time all together: vLLM starts on each of them.

    Args:
        model: the model whose weights the engine is to hold, whole on this process.
        prompt_ids: token ids of each prompt of this process; may be none.

    Raises:
        InputError: no vLLM here, a model that has no checkpoint to start it from, or one that is held in four bits.
        RuntimeError: the engine's log-probabilities are not the model's: it holds other weights.
    """
    engine = _engine_for(model)
    if not prompt_ids:
        return []
    engine.model = model
    engine.temperature, engine.top_p = settings.temperature, settings.top_p
    engine.max_completion_length = settings.max_new_tokens
    engine.generation_kwargs = {"stop_token_ids": sorted(settings.stop_token_ids)}
    engine.sync_weights()
    prompts = list(prompt_ids)
    _, drawn, log_probs, _ = engine.generate(prompts, images=None, num_generations=1)
    engine.model = None  # or the engine would keep it alive
    responses = [list(response) for response in drawn]
    check_log_probs(model, prompts, {"completion_ids": responses, "logprobs": log_probs}, settings)
    return responses


def _engine_for(model: Any) -> Any:
    """Return this process's engine for models of this shape, started when first asked for."""
    shapes = tuple((name, tuple(weight.shape)) for name, weight in model.named_parameters() if ".lora_" not in name)
    if shapes not in _engines:
        _engines[shapes] = _start(model)
    return _engines[shapes]


def _start(model: Any) -> Any:
    from accelerate import Accelerator

    checkpoint = getattr(model, "name_or_path", "")
    if not checkpoint:
        raise InputError("engine: vllm_colocated starts from a checkpoint's files, and this model came from none")
    try:
        return _generation_type()(
            model=model,
            accelerator=Accelerator(cpu=on_cpu_only()),
            processing_class=None,  # read for images alone
            mode="colocate",
            gpu_memory_utilization=_memory_share(),
            enable_sleep_mode=True,
            logprobs=0,  # of the drawn token alone
        )
    except ImportError as error:
        raise InputError(f'engine: vllm_colocated needs "rlhf-rounds[vllm]" ({error})') from error


def _memory_share() -> float:
    found = os.environ.get(MEMORY_VARIABLE, DEFAULT_MEMORY)
    try:
        share = float(found)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(f"{MEMORY_VARIABLE}: found {found!r}; expected a share of a GPU's memory, such as 0.3")
    return share


def _generation_type() -> type:
    from trl.generation.vllm_generation import VLLMGeneration

    class UnmergedGeneration(VLLMGeneration):
        """TRL's, which would merge adapters into the base and out again before each sampling; bf16 wears down by it."""

        def _iter_named_params(self) -> Iterator[tuple[str, Tensor]]:
            return merged_weights(self.model)

    return UnmergedGeneration
