"""A checkpoint's responses to given prompts, for the stages that evaluate it."""

from collections.abc import Sequence

from chat_model.conversation import Message
from chat_model.generation import Samples, sample
from chat_model.loading import load_causal_lm, load_tokenizer


def respond(
    checkpoint: str,
    prompts: Sequence[Sequence[Message]],
    *,
    temperature: float,
    max_new_tokens: int,
    batch_tokens: int,
    seed: int,
    description: str,
) -> Samples:
    """Return one response to each prompt. Raises InputError: no checkpoint, or a prompt that leaves no room in it."""
    tokenizer = load_tokenizer(checkpoint)
    return sample(
        load_causal_lm(checkpoint, tokenizer),
        tokenizer,
        prompts,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        batch_tokens=batch_tokens,
        seed=seed,
        description=description,
    )
