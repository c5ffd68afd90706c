"""Prompts that try to get an unsafe answer: a risk category (section 4.2.1), an attack style, single or multi-turn.

Borderline prompts only look dangerous ("kill weeds"); a model that refuses them is too cautious (section 4.2.3). The
file's rows: ``{"prompt": [messages], "category": …, "style": …, "borderline": true where it is so}``.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from chat_model.conversation import Message, fault, parse_messages, to_dicts
from chat_model.errors import InputError, suggestion
from chat_model.rows import read_rows

PACKAGED_PROMPTS = Path(__file__).with_name("prompts.jsonl")
CATEGORIES = ("illicit_and_criminal", "hateful_and_harmful", "unqualified_advice")
MULTI_TURN = "multi_turn"
STYLES = ("direct", "role_play", "hypothetical", "persuasion", "false_premise", "misspelling", MULTI_TURN)


@dataclass(frozen=True)
class AdversarialPrompt:
    """A prompt that ends with a user message, what it is after, and how. `where` is its place in the file."""

    prompt: tuple[Message, ...]
    category: str
    style: str
    borderline: bool = False
    where: str = "row"

    @classmethod
    def from_row(cls, row: dict[str, Any], where: str, categories: Sequence[str], styles: Sequence[str]) -> Self:
        """Validate a row. Raises InputError naming `where` and the field, with the closest known name."""
        messages = parse_messages(row.get("prompt"), where, "prompt", last="user")
        category = _known(row, "category", categories, where)
        style = _known(row, "style", styles, where)
        borderline = row.get("borderline") or False
        if not isinstance(borderline, bool):
            raise fault(where, "borderline", borderline, "true or false")
        found = cls(messages, category, style, borderline, where)
        if style == MULTI_TURN and not found.has_several_turns:
            raise fault(where, "style", style, "another one, since the prompt has a single user message")
        return found

    @property
    def has_several_turns(self) -> bool:
        """Whether the attack is made over more than one user message."""
        return sum(message.role == "user" for message in self.prompt) > 1

    def to_row(self) -> dict[str, Any]:
        """Return the file row."""
        labels = {"category": self.category, "style": self.style, "borderline": self.borderline}
        return {"prompt": to_dicts(self.prompt), **labels}


def _known(row: dict[str, Any], field: str, known: Sequence[str], where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or value not in known:
        raise fault(where, field, value, f"one of {', '.join(known)}{suggestion(str(value), known)}")
    return value


def read_adversarial_prompts(
    source: str, categories: Sequence[str], styles: Sequence[str], num_prompts: int | None = None, seed: int = 0
) -> list[AdversarialPrompt]:
    """Return `num_prompts` prompts of `source`, drawn at random and in its order (None: every row).

    Raises:
        InputError: a bad row, no adversarial prompt among them, or more asked for than there are.
    """
    prompts = [AdversarialPrompt.from_row(row, where, categories, styles) for where, row in read_rows(source)]
    if all(prompt.borderline for prompt in prompts):
        raise InputError(f"{source}: found {len(prompts)} prompts, none adversarial; expected one not borderline")
    if num_prompts is None:
        return prompts
    if not 0 < num_prompts <= len(prompts):
        raise InputError(f"num_prompts: found {num_prompts}; {source} has {len(prompts)} prompts")
    drawn = sorted(random.Random(seed).sample(range(len(prompts)), num_prompts))
    return [prompts[index] for index in drawn]
