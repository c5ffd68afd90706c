"""Which model a path into an output root goes back to: the base that the steps before it start from.

A checkpoint of a chain that has not run yet has no config to read, but every step trains the architecture that it
starts from, so that of the first model in its line is known beforehand.
"""

from collections.abc import Sequence
from pathlib import Path

from recipes.step import Step


def maker_of(path: str, steps: Sequence[Step]) -> Step | None:
    """Return the step that leaves `path`, or None if none does."""
    return next((step for step in steps if Path(path).is_relative_to(step.output)), None)


def line_of(model: str, steps: Sequence[Step]) -> list[str]:
    """Return `model` and what it goes back to: what the step that makes it starts from, and so on to the first."""
    maker = maker_of(model, steps)
    start = str(maker.arguments.get("model_name_or_path") or "") if maker else ""
    return [model, *(line_of(start, steps) if start and start != model else [])]


def origin_of(model: str, steps: Sequence[Step]) -> str:
    """Return the first of a model's line that has a config now, or what the chain starts from."""
    line = line_of(model, steps)
    return next((each for each in line if (Path(each) / "config.json").is_file()), line[-1])
