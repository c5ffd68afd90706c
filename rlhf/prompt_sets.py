"""Which prompts a stage works on: a seeded draw from a prompt file, so that rounds may differ in theirs."""

import random

from chat_model.conversation import Prompt
from chat_model.errors import InputError
from chat_model.rows import read_prompts


def draw_prompts(source: str, num_prompts: int | None, seed: int) -> list[Prompt]:
    """Return `num_prompts` prompts of `source` drawn without repetition (None: all of them, in their order).

    Raises:
        InputError: a malformed file, or more prompts asked for than it has.
    """
    prompts = read_prompts(source)
    if num_prompts is None:
        return prompts
    if num_prompts > len(prompts):
        raise InputError(f"num_prompts: found {num_prompts}; {source} has {len(prompts)}")
    return random.Random(seed).sample(prompts, num_prompts)
