"""From an annotator's verdict to a preference row: rating, domain, safety labels and bin (section 3.2.1)."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chat_model.conversation import RATINGS, Message, PreferencePair, to_dicts
from chat_model.errors import InputError
from rlhf.preferences.pairing import ResponsePair, provenance

# (prompt, response_a, response_b, rng) -> {"winner": "a"|"b", "rating", "safe_a", "safe_b", "note"}
Annotator = Callable[[list[dict[str, Any]], str, str, random.Random], Mapping[str, Any]]


def annotate_pairs(
    pairs: Sequence[ResponsePair], annotator: Annotator, rng: random.Random
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return preference rows and counts. Pairs whose chosen answer is unsafe and the other safe are left out, as in the
    paper, and counted.

    Raises:
        InputError: an annotator that answers with an unknown winner or rating.
    """
    rows, excluded = [], 0
    for pair in pairs:
        verdict = annotator(to_dicts(pair.prompt.prompt), pair.response_a, pair.response_b, rng)
        row = _row(pair, verdict)
        if row["chosen_safe"] is False and row["rejected_safe"] is True:
            excluded += 1
        else:
            rows.append(row)
    return rows, {"excluded_unsafe_chosen": excluded}


def _row(pair: ResponsePair, verdict: Mapping[str, Any]) -> dict[str, Any]:
    winner, rating = verdict.get("winner"), verdict.get("rating")
    if winner not in ("a", "b") or rating not in RATINGS:
        raise InputError(
            f"annotator: found winner {winner!r}, rating {rating!r}; expected 'a' or 'b' and one of {RATINGS}"
        )
    a_wins = winner == "a"
    texts, safe = (pair.response_a, pair.response_b), (verdict.get("safe_a"), verdict.get("safe_b"))
    if not a_wins:
        texts, safe = texts[::-1], safe[::-1]
    preference = PreferencePair(
        prompt=pair.prompt.prompt,
        chosen=(Message("assistant", texts[0]),),
        rejected=(Message("assistant", texts[1]),),
        rating=rating,
        domain="safety" if pair.prompt.is_safety else "helpfulness",
        chosen_safe=safe[0],
        rejected_safe=safe[1],
        source="annotator",
    )
    return {**preference.to_row(), **provenance(pair, a_wins), "note": verdict.get("note")}


def tally(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Return counts by domain, by rating, and of safety comparisons by bin (section 3.2.1)."""
    counts: dict[str, dict[str, int]] = {"by_domain": {}, "by_rating": {}, "safety_bins": {}}
    for row in rows:
        _add(counts["by_domain"], row["domain"])
        _add(counts["by_rating"], row["rating"])
        if row["domain"] == "safety":
            _add(counts["safety_bins"], _bin(row["chosen_safe"], row["rejected_safe"]))
    return counts


def _bin(chosen_safe: bool | None, rejected_safe: bool | None) -> str:
    if chosen_safe is None or rejected_safe is None:
        return "unlabelled"
    if chosen_safe == rejected_safe:
        return "both_safe" if chosen_safe else "both_unsafe"
    return "chosen_safe"


def _add(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
