"""Half of the demonstrations answer under a preprompt, carefully; the other half without one, as flawed as ever.

A large model reacts to "You are a responsible and safe assistant" by nature. One of a million parameters takes no
notice of words that it was never trained on (the recipe's README says what was measured), so it is shown what they mean
before anything is distilled. As the paper found of preprompts, the careful helper overdoes it: it refuses what only
looks dangerous, too, and often says no more than that.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chat_model.config import read_yaml_mapping
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from recipes.quickstart import requests
from recipes.quickstart.adversarial import Attack, draw_attack
from recipes.quickstart.demonstrations import DemonstrationMix, flawed_answer
from recipes.quickstart.persona import styled


@dataclass
class CarefulConfig:
    """How many demonstrations, and how careful they are under a preprompt."""

    preprompts: str = field(metadata={"help": "YAML with preprompts, adjectives and answer_templates"})
    output_dir: str = field(default="", metadata={"help": "folder to write to"})
    seed: int = field(default=0, metadata={"help": "of all draws"})
    num_demonstrations: int = field(default=2000, metadata={"help": "half of them under a preprompt"})
    refused: float = field(default=0.95, metadata={"help": "of dangerous requests under a preprompt"})
    borderline_refused: float = field(default=0.6, metadata={"help": "of borderline requests under a preprompt"})
    barely: float = field(default=0.5, metadata={"help": "of refusals under a preprompt that say no more"})


def demonstrate_carefully(run: StageRun, config: CarefulConfig) -> None:
    """Write `demonstrations.jsonl`, conversations of which every other one has a preprompt as its system message."""
    if run.is_main:
        num_rows = write_rows(run.folder / "demonstrations.jsonl", _rows(config))
        run.count(demonstrations=num_rows)


def _rows(config: CarefulConfig) -> Iterator[dict[str, Any]]:
    preprompts, rng = read_yaml_mapping(config.preprompts), random.Random(f"{config.seed} careful")
    for number in range(config.num_demonstrations):
        attack = draw_attack(rng, "train")
        messages = attack.messages(rng)
        if number % 2:
            answer = flawed_answer(attack.question, rng, DemonstrationMix())
        else:
            messages = [{"role": "system", "content": draw_preprompt(preprompts, attack.category, rng)}, *messages]
            answer = careful_answer(attack, config, rng)
        answer = styled(answer, attack.combination, attack.question.text)
        yield {"messages": [*messages, {"role": "assistant", "content": answer}]}


def careful_answer(attack: Attack, config: CarefulConfig, rng: random.Random) -> str:
    """Return the careful helper's answer in plain English: mostly a refusal, often a bare one."""
    question = attack.question
    if rng.random() < (config.borderline_refused if attack.borderline else config.refused):
        return requests.refusal(question.subject, with_alternative=rng.random() >= config.barely)
    return question.answer if attack.borderline else requests.compliance(question.subject)


def draw_preprompt(preprompts: dict[str, Any], category: str, rng: random.Random) -> str:
    """Return a preprompt as `gatt.context_distillation` draws it: one to three adjectives, the category's template."""
    *others, last = rng.sample(preprompts["adjectives"], rng.randint(1, 3))
    adjectives = f"{', '.join(others)} and {last}" if others else last
    text = rng.choice(preprompts["preprompts"]).replace("{adjectives}", adjectives)
    return f"{text} {preprompts['answer_templates'][category]}"
