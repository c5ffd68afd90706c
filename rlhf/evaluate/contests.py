"""Win rates between checkpoints, by judge and by reward models, on helpful and on safety prompts (Figure 11)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlhf.evaluate.win_rate import win_rate

Scores = Mapping[str, Sequence[float]]  # checkpoint -> one deciding value a prompt, the first checkpoint's first
PROMPT_KINDS = ("all", "helpfulness", "safety")


def compare_in_turn(scores: Scores) -> dict[str, dict[str, Any]]:
    """Return each checkpoint's win rate over the first one and, as `over_previous`, over the one before it."""
    names = list(scores)
    rates = {}
    for previous, name in zip(names, names[1:], strict=False):
        rates[name] = {
            "against": names[0],
            **win_rate(scores[name], scores[names[0]]),
            "over_previous": {"against": previous, **win_rate(scores[name], scores[previous])},
        }
    return rates


def contests(scores: Mapping[str, Scores], is_safety: Sequence[bool]) -> list[dict[str, Any]]:
    """Return a row for every checkpoint × opponent (the first one, the one before) × who decides × kind of prompts.

    Its columns: ``name``, ``against``, ``by``, ``prompts`` (of `PROMPT_KINDS`), ``count``, ``win_rate``, ``low``,
    ``high``. Kinds of which there is no prompt are left out.

    Args:
        scores: by who decides, such as "judge"; each prompt is decided by comparing its two values.
        is_safety: of each prompt.
    """
    kinds = {
        "all": list(range(len(is_safety))),
        "helpfulness": [index for index, safety in enumerate(is_safety) if not safety],
        "safety": [index for index, safety in enumerate(is_safety) if safety],
    }
    rows = []
    for by, of in scores.items():
        for name, against in _opponents(list(of)):
            for kind, prompts in kinds.items():
                if prompts:
                    rate = win_rate([of[name][each] for each in prompts], [of[against][each] for each in prompts])
                    case = {"name": name, "against": against, "by": by, "prompts": kind, "count": len(prompts)}
                    rows.append({**case, **rate})
    return rows


def _opponents(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each checkpoint with the first one and with the one before it, once where these are the same."""
    for previous, name in zip(names, names[1:], strict=False):
        yield from ((name, against) for against in dict.fromkeys((names[0], previous)))
