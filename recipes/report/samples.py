"""The sample dialogues of the report: held-out prompts whose answers changed most from first to last checkpoint.

Half of them are adversarial prompts where there are enough, for the two kinds are judged on different scales.
"""

from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

Row = dict[str, Any]
_SHOWN_SCORES = ("helpfulness", "safety", "reward_helpfulness", "reward_safety")


@dataclass(frozen=True)
class Answer:
    """What one checkpoint said, and its scores as text."""

    checkpoint: str
    text: str
    scores: str


@dataclass(frozen=True)
class Sample:
    """A prompt's messages with the answers before and after."""

    prompt: list[dict[str, str]]
    is_safety: bool
    before: Answer
    after: Answer


def most_changed(rows: list[Row], count: int) -> list[Sample]:
    """Return up to `count` samples of `evaluation/responses.jsonl`, the largest change of score first, one a prompt."""
    unique = list({str(row["prompt"]): row for row in rows if len(row["responses"]) > 1}.values())
    by_change = sorted(unique, key=_change, reverse=True)
    ordinary, adversarial = ([row for row in by_change if bool(row.get("is_safety")) is kind] for kind in (False, True))
    alternating = chain.from_iterable(zip_longest(ordinary, adversarial))
    return [_sample(row) for row in alternating if row is not None][:count]


def _first_and_last(row: Row) -> tuple[str, str]:
    checkpoints = list(row["responses"])
    return checkpoints[0], checkpoints[-1]


def _change(row: Row) -> float:
    """How far the judge's main score moved; where it stood still, whether the words did decides."""
    first, last = _first_and_last(row)
    main = "safety" if row.get("is_safety") else "helpfulness"
    before, after = (row.get("scores", {}).get(name, {}).get(main, 0.0) for name in (first, last))
    return abs(after - before) + 1e-6 * (row["responses"][first] != row["responses"][last])


def _sample(row: Row) -> Sample:
    first, last = _first_and_last(row)
    return Sample(row["prompt"], bool(row.get("is_safety")), _answer(row, first), _answer(row, last))


def _answer(row: Row, checkpoint: str) -> Answer:
    scores = row.get("scores", {}).get(checkpoint, {})
    shown = ", ".join(f"{name.replace('_', ' ')} {scores[name]:.2g}" for name in _SHOWN_SCORES if name in scores)
    return Answer(checkpoint, row["responses"][checkpoint], shown)
