"""Preference pairs to the token rows that the trainer takes: both answers rendered, the margin, the safety labels.

Nothing is dropped in silence: pairs over `max_length` are counted or refused, unrated pairs are refused where a margin
needs their rating.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from datasets import Dataset

from chat_model.conversation import PreferencePair
from chat_model.errors import InputError
from chat_model.template import render
from reward_model.ratings import Margin, margin

OnTooLong = Literal["drop", "error"]


def fill_ratings(pairs: Sequence[PreferencePair], choice: Margin, default: str | None) -> list[PreferencePair]:
    """Return `pairs`, the unrated ones with the rating `default`.

    Raises:
        InputError: pairs are unrated, no default is given, and the margin needs a rating.
    """
    num_unrated = sum(pair.rating is None for pair in pairs)
    if num_unrated and default is None and choice != "none":
        raise InputError(
            f"margin: {choice}: {num_unrated} of {len(pairs)} pairs have no rating; set default_rating, or margin: none"
        )
    return [pair if pair.rating else replace(pair, rating=default) for pair in pairs]


def encode_pairs(
    pairs: Sequence[PreferencePair], tokenizer, choice: Margin, max_length: int | None, on_too_long: OnTooLong = "drop"
) -> Dataset:
    """Return one row a pair that fits, with the columns of `encode_pair`.

    Raises:
        InputError: a pair is over `max_length` and `on_too_long` is "error", or no pair fits.
    """
    rows = [encode_pair(pair, tokenizer, choice) for pair in pairs]
    kept = [row for row in rows if max_length is None or row["length"] <= max_length]
    if len(kept) < len(rows) and (on_too_long == "error" or not kept):
        longest = max(row["length"] for row in rows)
        raise InputError(
            f"max_length: {len(rows) - len(kept)} of {len(rows)} pairs are over {max_length} tokens, the longest has "
            f"{longest}; raise max_length, or set on_too_long: drop to train on those that fit"
        )
    return Dataset.from_list(kept)


def encode_pair(pair: PreferencePair, tokenizer, choice: Margin) -> dict[str, Any]:
    """Return the row of one pair: `chosen_ids`, `rejected_ids`, `margin`, `chosen_safe`, `rejected_safe`, `length`.

    `length` is the longer dialogue's, in tokens; a safety label is 1, 0, or NaN where there is none.
    """
    chosen_ids = render(tokenizer, pair.prompt + pair.chosen).token_ids
    rejected_ids = render(tokenizer, pair.prompt + pair.rejected).token_ids
    return {
        "chosen_ids": chosen_ids,
        "rejected_ids": rejected_ids,
        "margin": margin(pair.rating, choice),
        "chosen_safe": _label(pair.chosen_safe),
        "rejected_safe": _label(pair.rejected_safe),
        "length": max(len(chosen_ids), len(rejected_ids)),
    }


def _label(is_safe: bool | None) -> float:
    return math.nan if is_safe is None else float(is_safe)
