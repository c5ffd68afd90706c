"""What a judge says of responses; a judge is a function from a dialogue, as dictionaries, and a response to grades."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Judge = Callable[[list[dict[str, Any]], str], Mapping[str, float]]


def mean_grades(verdicts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of every grade, 0 to 1 each, in points (0 to 100) over the responses that have it."""
    names = dict.fromkeys(name for verdict in verdicts for name in verdict)
    grades = {name: [verdict[name] for verdict in verdicts if name in verdict] for name in names}
    return {name: 100 * sum(values) / len(values) for name, values in grades.items()}
