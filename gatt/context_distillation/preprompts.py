"""Safety preprompts: texts with adjectives drawn into them, and an answer template where the risk category is known.

Section 4.2.4: "You are a responsible and safe assistant …", with adjectives that vary (*responsible*, *respectful*,
*wise*), and a template that says how to answer prompts of one risk category. Plain data, no torch.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from chat_model.config import check_keys, read_yaml_mapping
from chat_model.conversation import fault
from chat_model.errors import InputError, suggestion

PLACE = "{adjectives}"


@dataclass(frozen=True)
class Preprompts:
    """What `preprompts.yaml` holds; a text of `preprompts` shows with ``{adjectives}`` where the adjectives go."""

    preprompts: tuple[str, ...]
    adjectives: tuple[str, ...]
    answer_templates: dict[str, str]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read and validate the YAML file. Raises InputError naming file and field."""
        content, where = read_yaml_mapping(path), str(path)
        check_keys(content, {"preprompts", "adjectives", "answer_templates"}, where)
        preprompts, adjectives = (_texts(content, name, where) for name in ("preprompts", "adjectives"))
        if not preprompts:
            raise fault(where, "preprompts", content.get("preprompts"), "a list with at least one text")
        if not adjectives and any(PLACE in text for text in preprompts):
            raise fault(where, "adjectives", content.get("adjectives"), f"some, since a preprompt says {PLACE}")
        return cls(preprompts, adjectives, _templates(content.get("answer_templates") or {}, where))

    def draw(self, risk_category: str | None, where: str, rng: random.Random) -> str:
        """Return one preprompt with one to three adjectives, and the answer template of `risk_category` after it.

        Raises:
            InputError: a category without a template, where there are templates (names `where`, suggests the closest).
        """
        adjectives = rng.sample(self.adjectives, min(rng.randint(1, 3), len(self.adjectives)))
        text = rng.choice(self.preprompts).replace(PLACE, _joined(adjectives))
        if risk_category is None or not self.answer_templates:
            return text
        if risk_category not in self.answer_templates:
            expected = f"a category of answer_templates{suggestion(risk_category, self.answer_templates)}"
            raise fault(where, "category", risk_category, expected)
        return f"{text} {self.answer_templates[risk_category]}"


def _texts(content: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    texts = content.get(name) or []
    if not isinstance(texts, list) or any(not isinstance(text, str) or not text.strip() for text in texts):
        raise fault(where, name, texts, "a list of texts, none of them empty")
    return tuple(texts)


def _templates(found: Any, where: str) -> dict[str, str]:
    if not isinstance(found, dict):
        raise fault(where, "answer_templates", found, "a mapping of risk category to text")
    for category, text in found.items():
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: field 'answer_templates.{category}': found {text!r}; expected text")
    return {str(category): text for category, text in found.items()}


def _joined(words: list[str]) -> str:
    *others, last = words or [""]
    return f"{', '.join(others)} and {last}" if others else last
