"""User turns by the model itself, where there is no dataset: it plays the user and the assistant by turns.

To play the user it sees the dialogue with the roles exchanged, after a message that says whom to play. All dialogues
advance together, a turn of all in one batch, and no instruction of Ghost Attention is said in them: like a dataset's,
only their user turns are used (section 3.3).
"""

from collections.abc import Sequence

from chat_model.conversation import Message
from gatt.sampler import ModelSampler


def chat_with_itself(sampler: ModelSampler, roles: Sequence[str], num_turns: int) -> list[list[Message]]:
    """Return a dialogue for each of `roles`, up to `num_turns` exchanges long; it may be empty.

    A dialogue ends before an empty message, one that was cut off, and where the context would be full.

    Args:
        sampler: gives one reply to each context, an empty one for what was cut off.
        roles: what the model is told before it plays the user.
    """
    dialogues: list[list[Message]] = [[] for _ in roles]
    open_ones = list(range(len(roles)))
    for _ in range(num_turns):
        asked = _sample(sampler, {index: as_user(roles[index], dialogues[index]) for index in open_ones})
        told = {index: [*dialogues[index], Message("user", text)] for index, text in asked.items()}
        replies = _sample(sampler, told)
        for index, text in replies.items():
            dialogues[index] = [*told[index], Message("assistant", text)]
        open_ones = list(replies)
    return dialogues


def as_user(role: str, messages: Sequence[Message]) -> list[Message]:
    """Return `messages` as whoever plays the user sees them: `role` first, then its own words as the assistant's."""
    exchanged = {"user": "assistant", "assistant": "user"}
    return [Message("user", role), *(Message(exchanged[each.role], each.content) for each in messages)]


def _sample(sampler: ModelSampler, contexts: dict[int, list[Message]]) -> dict[int, str]:
    """Return the replies that are not empty, of the contexts that leave room for one."""
    fitting = {index: messages for index, messages in contexts.items() if sampler.fits(messages)}
    texts = sampler(list(fitting.values())) if fitting else []
    return {index: text for index, text in zip(fitting, texts, strict=True) if text.strip()}
