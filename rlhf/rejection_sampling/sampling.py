"""K responses a prompt, at one or several temperatures, shard by shard, so that a killed run keeps what it has drawn.

A shard is a run of consecutive prompts. Its seed is drawn from the run's seed and the shard's name, and
`chat_model.generation.sample` spreads its batches over the processes with a seed each: the samples are the same on any
number of processes, and the same whether or not the run was interrupted.
"""

import functools
import random
from collections.abc import Callable, Sequence
from typing import Any

from transformers import AutoConfig

from chat_model.conversation import Prompt
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.loading import load_chat_model, load_tokenizer
from chat_model.shards import Rows, Shards
from chat_model.template import render_prompt
from rlhf.rejection_sampling.candidates import Response
from rlhf.rejection_sampling.config import RejectionSamplingConfig

LoadPolicy = Callable[[], tuple[Any, Any]]


def draw_responses(
    config: RejectionSamplingConfig,
    prompts: Sequence[Prompt],
    temperatures: Sequence[float],
    num_samples: int,
    shards: Shards,
    name: str,
) -> list[Response]:
    """Return `num_samples` responses to each prompt at each temperature.

    Those of one prompt stand together, and in them those of one temperature, in the order given. The policy is loaded
    only when a shard is missing, and let go of afterwards.

    Args:
        name: what the shards are called; another draw of the same run has another name, and so other seeds.
    """
    load = functools.cache(functools.partial(load_chat_model, config.model_name_or_path, config.dtype))
    starts = range(0, len(prompts), config.prompts_per_shard)
    responses: list[Response] = []
    for number, start in enumerate(starts):
        some = prompts[start : start + config.prompts_per_shard]
        label = f"{name.replace('_', ' ')}, shard {number + 1} of {len(starts)}"
        make = functools.partial(_draw_shard, config, load, some, temperatures, num_samples, label)
        rows = shards.rows(f"{name}-{number:05d}", make)
        repeated = (prompt for prompt in some for _ in range(num_samples * len(temperatures)))
        responses += [_response(config, *each) for each in zip(repeated, rows, strict=True)]
    return responses


def prompts_that_fit(config: RejectionSamplingConfig, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts that leave room for `max_new_tokens` in the policy's context. Raises InputError for none."""
    tokenizer = load_tokenizer(config.model_name_or_path)
    settings = AutoConfig.from_pretrained(config.model_name_or_path).get_text_config()
    context = getattr(settings, "max_position_embeddings", None)
    if context is None:
        return list(prompts)
    limit = context - config.max_new_tokens
    fitting = [prompt for prompt in prompts if len(render_prompt(tokenizer, prompt.prompt)) <= limit]
    if not fitting:
        raise InputError(f"{config.prompts}: no prompt has at most {limit} tokens (context less max_new_tokens)")
    return fitting


def _draw_shard(
    config: RejectionSamplingConfig,
    load: LoadPolicy,
    prompts: Sequence[Prompt],
    temperatures: Sequence[float],
    num_samples: int,
    label: str,
) -> Rows:
    """Return one row a response, prompt by prompt and within a prompt temperature by temperature."""
    model, tokenizer = load()
    by_prompt: list[Rows] = [[] for _ in prompts]
    for temperature in temperatures:
        samples = sample(
            model,
            tokenizer,
            [prompt.prompt for prompt in prompts],
            num_samples=num_samples,
            temperature=temperature,
            max_new_tokens=config.max_new_tokens,
            seed=random.Random(f"{config.seed} {label} {temperature}").getrandbits(48),
            batch_tokens=config.batch_tokens,
            engine=config.engine,
            description=f"{label}, temperature {temperature:g}",
        )
        for index, (text, reason) in enumerate(zip(samples.texts, samples.finish_reasons, strict=True)):
            row = {"response": text, "finish_reason": reason, "temperature": temperature}
            by_prompt[index // num_samples].append(row)
    return [row for rows in by_prompt for row in rows]


def _response(config: RejectionSamplingConfig, prompt: Prompt, row: dict[str, Any]) -> Response:
    provenance = {"model": config.model_name_or_path, "temperature": row["temperature"], "round": config.round}
    return Response(prompt, row["response"], {**provenance, "finish_reason": row["finish_reason"]})
