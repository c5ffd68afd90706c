"""What a judge says of responses; a judge is a function from a dialogue, as dictionaries, and a response to grades."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# (prompt, response) -> {"helpfulness": 0.85, …} or {"safety": 1.0, "unsafe": 0.0}; the first value is the one that wins
Judge = Callable[[list[dict[str, Any]], str], Mapping[str, float]]


def grades_by_name(verdicts: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the values of every grade, over the responses that have it."""
    names = dict.fromkeys(name for verdict in verdicts for name in verdict)
    return {name: [verdict[name] for verdict in verdicts if name in verdict] for name in names}


def mean_grades(verdicts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of every grade, 0 to 1 each, in points (0 to 100) over the responses that have it."""
    return {name: 100 * sum(values) / len(values) for name, values in grades_by_name(verdicts).items()}
