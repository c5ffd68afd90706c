"""Two responses to each prompt, from two checkpoints or adapters at varied temperatures (section 3.2.1)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from chat_model.conversation import Prompt
from chat_model.engines import Engine
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.loading import load_chat_model
from rlhf.preferences.response_pair import ResponsePair, Source, differ

_SEED_STRIDE = 50_021  # between the temperatures of one checkpoint; a batch of theirs adds 1


@dataclass(frozen=True)
class Response:
    """One response and where it comes from."""

    text: str
    source: Source


@dataclass(frozen=True)
class Variant:
    """A checkpoint, or a folder with an adapter, and the temperatures that its responses are drawn at."""

    model: str
    temperatures: tuple[float, ...]

    def check(self, field: str) -> None:
        """Raise InputError unless there is a temperature, none is negative and none stands there twice."""
        different = set(self.temperatures)
        if not different or min(different) < 0 or len(different) < len(self.temperatures):
            raise InputError(f"{field}: found {list(self.temperatures)}; expected different ones, each 0 or more")


def sample_responses(
    variant: Variant,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    seed: int,
    batch_tokens: int,
    dtype: str = "float32",
    engine: Engine = "transformers",
) -> list[Response]:
    """Return one response of `variant` to each prompt; every temperature has an equal share, drawn by `seed`."""
    model, tokenizer = load_chat_model(variant.model, dtype)
    assigned = assign_temperatures(variant.temperatures, len(prompts), seed)
    texts: dict[int, str] = {}
    for number, temperature in enumerate(variant.temperatures):
        own = [index for index, each in enumerate(assigned) if each == temperature]
        drawn = sample(
            model,
            tokenizer,
            [prompts[index].prompt for index in own],
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            seed=seed + number * _SEED_STRIDE,
            batch_tokens=batch_tokens,
            engine=engine,
            description=f"responses of {variant.model.rsplit('/', 1)[-1]} at {temperature}",
        )
        texts |= zip(own, drawn.texts, strict=True)
    return [Response(texts[index], Source(variant.model, assigned[index])) for index in range(len(prompts))]


def assign_temperatures(temperatures: Sequence[float], num_prompts: int, seed: int) -> list[float]:
    """Return a temperature for each prompt: all equally often (within one), in an order drawn by `seed`."""
    assigned = [temperatures[index % len(temperatures)] for index in range(num_prompts)]
    random.Random(seed).shuffle(assigned)
    return assigned


def pair_responses(
    prompts: Sequence[Prompt], first: Sequence[Response], second: Sequence[Response], rng: random.Random
) -> tuple[list[ResponsePair], dict[str, int]]:
    """Return the pairs worth comparing, their order drawn by `rng`, and how many were dropped and why."""
    pairs, dropped = [], {"dropped_identical": 0, "dropped_empty": 0}
    for prompt, *both in zip(prompts, first, second, strict=True):
        swap = rng.random() < 0.5
        a, b = both[::-1] if swap else both
        if not a.text.strip() or not b.text.strip():
            dropped["dropped_empty"] += 1
        elif not differ(a.text, b.text):
            dropped["dropped_identical"] += 1
        else:
            pairs.append(ResponsePair(prompt, a.text, b.text, a.source, b.source))
    return pairs, dropped
