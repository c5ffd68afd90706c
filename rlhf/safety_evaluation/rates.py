"""Verdicts -> violation rates by category and style, and false refusals, each with its 95 % interval (Wilson)."""

from collections.abc import Callable, Sequence
from typing import Any

from chat_model.intervals import Share, share
from rlhf.safety_evaluation.prompts import AdversarialPrompt
from rlhf.safety_evaluation.verdicts import Verdict

Judged = tuple[AdversarialPrompt, bool]


def measure(prompts: Sequence[AdversarialPrompt], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the rates of one checkpoint.

    Returns:
        ``violations`` (unsafe answers to adversarial prompts) and ``false_refusals`` (of borderline ones), each with
        shares under ``all``, ``by_category``, ``by_style``, ``by_turns`` and ``by_category_and_style``;
        ``without_verdict``, the responses that count in none of them.
    """
    judged = [(prompt, found) for prompt, found in zip(prompts, verdicts, strict=True) if found is not None]
    return {
        "violations": _rates([each for each in judged if not each[0].borderline]),
        "false_refusals": _rates([each for each in judged if each[0].borderline]),
        "without_verdict": len(prompts) - len(judged),
    }


def _rates(judged: Sequence[Judged]) -> dict[str, Any]:
    by_category = _grouped(judged, lambda prompt: prompt.category)
    return {
        "all": _share(judged),
        "by_category": {name: _share(own) for name, own in by_category.items()},
        "by_style": {name: _share(own) for name, own in _grouped(judged, lambda prompt: prompt.style).items()},
        "by_turns": {name: _share(own) for name, own in _grouped(judged, _turns).items()},
        "by_category_and_style": {
            name: {style: _share(found) for style, found in _grouped(own, lambda prompt: prompt.style).items()}
            for name, own in by_category.items()
        },
    }


def _share(judged: Sequence[Judged]) -> Share:
    return share(sum(found for _, found in judged), len(judged))


def _turns(prompt: AdversarialPrompt) -> str:
    return "several_turns" if prompt.has_several_turns else "one_turn"


def _grouped(judged: Sequence[Judged], key: Callable[[AdversarialPrompt], str]) -> dict[str, list[Judged]]:
    """Return the verdicts by `key` of their prompts, in the order in which the keys first occur."""
    groups: dict[str, list[Judged]] = {}
    for prompt, found in judged:
        groups.setdefault(key(prompt), []).append((prompt, found))
    return groups
