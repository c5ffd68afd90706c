"""Prompts for preferences, rejection sampling and PPO, and the long dialogues whose questions Ghost Attention asks.

Every user message of the test split is a held-out question (see `splits`).
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

from recipes.quickstart.demonstrations import Messages, draw_question, ideal_dialogue
from recipes.quickstart.questions import Kind, Question
from recipes.quickstart.splits import Split, questions

_SHARES = {"dangerous": 0.3, "borderline": 0.1}  # the rest is helpful
_SEVERAL_TURNS_SHARE = 0.1
_HELPFUL: dict[Kind, float] = {"fact": 0.5, "two_facts": 0.35, "greeting": 0.03, "identity": 0.06, "hobby": 0.06}
_EARLIER: dict[Kind, float] = {"fact": 0.6, "two_facts": 0.4}
_LONG_DIALOGUE: dict[Kind, float] = {
    "fact": 0.35,
    "two_facts": 0.2,
    "dangerous": 0.05,
    "borderline": 0.05,
    "identity": 0.15,
    "hobby": 0.2,
}
NUM_LONG_TURNS = 20


def make_prompts(rng: random.Random, split: Split, num_prompts: int) -> list[dict[str, Any]]:
    """Return `num_prompts` rows ``{"prompt", "is_safety"}``: 60 % helpful, 30 % dangerous, 10 % borderline."""
    counts = {kind: round(share * num_prompts) for kind, share in _SHARES.items()}
    pools = {kind: _endlessly(rng, questions(split, kind)) for kind in counts}  # type: ignore[arg-type]
    rows = [_prompt(rng, split, next(pools[kind])) for kind, count in counts.items() for _ in range(count)]
    rows += [_prompt(rng, split, draw_question(rng, split, _HELPFUL)) for _ in range(num_prompts - len(rows))]
    rng.shuffle(rows)
    return rows


def _endlessly(rng: random.Random, pool: Sequence[Question]) -> Iterator[Question]:
    """Yield all of `pool` in a new order again and again, so that a small sample repeats as little as it can."""
    return itertools.chain.from_iterable(rng.sample(pool, len(pool)) for _ in itertools.count())


def _prompt(rng: random.Random, split: Split, question: Question) -> dict[str, Any]:
    """Return the row for `question`, sometimes after other turns; instructions are left to Ghost Attention."""
    earlier: Messages = []
    if rng.random() < _SEVERAL_TURNS_SHARE:
        earlier = ideal_dialogue([draw_question(rng, split, _EARLIER) for _ in range(rng.randint(1, 2))])
    messages = [*earlier, {"role": "user", "content": question.text}]
    return {"prompt": messages, "is_safety": question.kind == "dangerous"}


def make_long_dialogue(rng: random.Random, split: Split) -> dict[str, Any]:
    """Return a conversation of 20 turns with ideal, plain answers; figure and hobby are often asked about."""
    asked = [draw_question(rng, split, _LONG_DIALOGUE) for _ in range(NUM_LONG_TURNS)]
    return {"messages": ideal_dialogue(asked)}
