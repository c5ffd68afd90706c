"""Which prompts a stage works on: a seeded draw from a prompt file, so that rounds may differ in theirs."""

import random

from chat_model.conversation import Prompt
from chat_model.errors import InputError
from chat_model.rows import read_prompts


def draw_prompts(source: str, num_prompts: int | None, seed: int) -> list[Prompt]:
    """Return `num_prompts` different prompts of `source`, drawn at random (None: every row, in the file's order).

    Raises:
        InputError: a malformed file, or more prompts asked for than it has different ones.
    """
    prompts = read_prompts(source)
    if num_prompts is None:
        return prompts
    different = list(dict.fromkeys(prompts))
    if num_prompts > len(different):
        raise InputError(f"num_prompts: found {num_prompts}; {source} has {len(different)} different prompts")
    return random.Random(seed).sample(different, num_prompts)
