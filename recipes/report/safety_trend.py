"""The trend of safety over the rounds: unsafe answers and false refusals of every checkpoint, with intervals.

Read from the record of `rlhf.safety_evaluation`; `safety_series` is what a chart of another sort would need.
"""

from typing import Any

from markupsafe import Markup

from recipes.report import plots
from recipes.results import FinishedStep

SAFETY_EVALUATION = "safety_evaluation"
_MEASURES = {"violations": "unsafe answers", "false_refusals": "false refusals"}

Series = dict[str, dict[str, tuple[float, dict[str, Any]]]]


def safety_series(steps: dict[str, FinishedStep]) -> Series:
    """Return ``{"unsafe answers" | "false refusals": {checkpoint: (share, {"low", "high", "count"})}}``.

    Checkpoints come in their order; what was not measured (no borderline prompts, no step) is left out.
    """
    step = steps.get(SAFETY_EVALUATION)
    checkpoints = step.metrics.get("checkpoints", {}) if step else {}
    series = {
        label: {
            name: (measured[measure]["all"]["share"], measured[measure]["all"])
            for name, measured in checkpoints.items()
            if measured[measure]["all"]["count"]
        }
        for measure, label in _MEASURES.items()
    }
    return {label: rows for label, rows in series.items() if rows}


def safety_trend(steps: dict[str, FinishedStep]) -> Markup | None:
    """Draw the trend, a row a checkpoint; None where no safety evaluation has finished."""
    series = safety_series(steps)
    return plots.intervals(series, x="share of prompts, %", label="safety over the rounds") if series else None
