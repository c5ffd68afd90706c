"""Which pairs train and test a reward model: held-out prompts, and the two domains' proportions (section 3.2.2).

The paper's mixtures are shares: 0.5 of safety and open data for the helpfulness model, 0.1 of helpfulness for safety.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from chat_model.conversation import Message, PreferencePair
from chat_model.errors import InputError

T = TypeVar("T")


def opening(messages: Sequence[Message]) -> str:
    """Return the first user message: dialogues that begin alike share text, so they stay on one side of a split."""
    return next(message.content for message in messages if message.role == "user")


def hold_out(items: Sequence[T], key: Callable[[T], str], share: float, seed: int) -> tuple[list[T], list[T]]:
    """Split `items` into (train, test), about `share` of the keys in test, all items of one key on one side.

    A key's side hangs on the key and the seed alone: data of a later round never trains on what an earlier one tested.
    """

    def is_test(item: T) -> bool:
        digest = hashlib.sha256(f"{seed}\n{key(item)}".encode()).digest()
        return int.from_bytes(digest[:8]) < share * 2**64

    train = [item for item in items if not is_test(item)]
    return train, [item for item in items if is_test(item)]


def drop_unsafe_chosen(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """Return `pairs` without those whose chosen answer is unsafe and whose rejected one is safe (section 3.2.1)."""
    return [pair for pair in pairs if not (pair.chosen_safe is False and pair.rejected_safe is True)]


def mix_domains(
    pairs: Sequence[PreferencePair], domain: str, other_domain_share: float, seed: int
) -> list[PreferencePair]:
    """Return all pairs of `domain`, and others, drawn without repeats, as `other_domain_share` of the whole.

    Args:
        pairs: all pairs, each with a domain unless `domain` is "all".
        domain: "helpfulness", "safety", or "all", which returns every pair.
        other_domain_share: in [0, 1), a share of the result.
        seed: of the draw.

    Raises:
        InputError: no pair of `domain`, a pair without one, or too few of the other to fill the share.
    """
    if domain == "all":
        return list(pairs)
    if any(pair.domain is None for pair in pairs):
        raise InputError(f"domain: {domain}: found pairs without a domain; name it in the data, or set domain: all")
    if not 0 <= other_domain_share < 1:
        raise InputError(f"other_domain_share: found {other_domain_share}; expected at least 0 and below 1")
    own = [pair for pair in pairs if pair.domain == domain]
    other = [pair for pair in pairs if pair.domain != domain]
    wanted = round(len(own) * other_domain_share / (1 - other_domain_share))
    if not own:
        raise InputError(f"domain: {domain}: found none among {len(pairs)} pairs to train on")
    if wanted > len(other):
        largest = len(other) / (len(own) + len(other))
        raise InputError(
            f"other_domain_share: {other_domain_share} of the mixture needs {wanted} pairs of the other domain beside "
            f"{len(own)}, found {len(other)}; the largest share without repeats is {largest:.3f}"
        )
    return own + random.Random(seed).sample(other, wanted)
