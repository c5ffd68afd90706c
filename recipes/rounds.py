"""One RLHF round as `recipe.yaml` declares it: its stages, its prompts and data, and what differs in it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_model.config import check_keys
from chat_model.errors import InputError

ROUND_STAGES = ("preferences", "reward_models", "rejection_sampling", "ppo", "gatt")
_DEFAULT_STAGES = ROUND_STAGES[:-1]  # Ghost Attention is asked for
_PROMPTED = ("preferences", "rejection_sampling", "ppo")  # stages that take prompts
_KINDS: dict[str, type] = {"name": str, "stages": list, "prompts": str, "preferences": list, "overrides": dict}


@dataclass(frozen=True)
class Round:
    """One round: which stages it has, and what holds in it alone."""

    name: str
    stages: tuple[str, ...]
    overrides: dict[str, Any] = field(default_factory=dict)  # {"rejection_sampling.temperature": 1.1}
    preferences: tuple[str, ...] = ()  # files that its reward models and all later ones learn from as well


def read_round(content: Any, where: Path) -> Round:
    """Return the round that one entry of `rounds:` declares; whether its overrides exist is not looked at.

    `prompts` is short for the same override of every stage of the round that takes prompts; a single override wins.

    Raises:
        InputError: an entry that is no mapping or has no name, an unknown key or stage, a value of the wrong kind.
    """
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise InputError(f"{where}: field 'rounds': found {content!r}; expected {{name: …, stages: […]}}")
    label = f"{where}: round '{content['name']}'"
    check_keys(content, set(_KINDS), label)
    given = {key: value for key, value in content.items() if value is not None}
    for key, value in given.items():
        if not isinstance(value, _KINDS[key]):
            raise InputError(f"{label}, {key}: found {value!r}; expected a {_KINDS[key].__name__}")
    stages = tuple(given.get("stages", _DEFAULT_STAGES))
    check_keys(stages, set(ROUND_STAGES), f"{label}, stages")
    prompts = {f"{stage}.prompts": given["prompts"] for stage in _PROMPTED if stage in stages and "prompts" in given}
    overrides = {**prompts, **{str(key): value for key, value in given.get("overrides", {}).items()}}
    return Round(given["name"], stages, overrides, tuple(given.get("preferences", ())))
