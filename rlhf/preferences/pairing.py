"""Two responses to each prompt, from two different checkpoints at different temperatures (section 3.2.1)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chat_model.conversation import Prompt
from chat_model.generation import sample
from chat_model.loading import load_causal_lm, load_tokenizer


@dataclass(frozen=True)
class Source:
    """Where a response comes from: a checkpoint (hub id or folder) and the temperature it is sampled at."""

    model: str
    temperature: float


@dataclass(frozen=True)
class ResponsePair:
    """Two responses as the annotator sees them, in random order, and which source wrote which."""

    prompt: Prompt
    response_a: str
    response_b: str
    source_a: Source
    source_b: Source


def sample_responses(
    source: Source, prompts: Sequence[Prompt], *, max_new_tokens: int, seed: int, batch_tokens: int
) -> list[str]:
    """Return one response of `source` to each prompt."""
    tokenizer = load_tokenizer(source.model)
    model = load_causal_lm(source.model, tokenizer)
    return sample(
        model,
        tokenizer,
        [prompt.prompt for prompt in prompts],
        temperature=source.temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_tokens=batch_tokens,
        description=f"responses of {source.model.rsplit('/', 1)[-1]}",
    ).texts


def pair_responses(
    prompts: Sequence[Prompt], responses: Sequence[tuple[Source, Sequence[str]]], rng: random.Random
) -> tuple[list[ResponsePair], dict[str, int]]:
    """Return the pairs worth comparing, their order drawn by `rng`, and how many were dropped and why.

    Args:
        responses: the two sources, each with one response a prompt.
    """
    pairs, dropped = [], {"dropped_identical": 0, "dropped_empty": 0}
    (first, first_texts), (second, second_texts) = responses
    for prompt, one, other in zip(prompts, first_texts, second_texts, strict=True):
        swap = rng.random() < 0.5
        if not one.strip() or not other.strip():
            dropped["dropped_empty"] += 1
        elif one.strip() == other.strip():
            dropped["dropped_identical"] += 1
        elif swap:
            pairs.append(ResponsePair(prompt, other, one, second, first))
        else:
            pairs.append(ResponsePair(prompt, one, other, first, second))
    return pairs, dropped


def provenance(pair: ResponsePair, a_is_chosen: bool) -> dict[str, Any]:
    """Return the columns that say which checkpoint and temperature each answer came from, and the order shown."""
    chosen, rejected = (pair.source_a, pair.source_b) if a_is_chosen else (pair.source_b, pair.source_a)
    return {
        "chosen_model": chosen.model,
        "chosen_temperature": chosen.temperature,
        "rejected_model": rejected.model,
        "rejected_temperature": rejected.temperature,
        "chosen_shown_first": a_is_chosen,
    }
