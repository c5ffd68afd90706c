"""One step of a recipe: a stage, the arguments it starts with, and the folder it leaves behind.

A chain is a list of these. What a step needs of an earlier one stands among its arguments as a path into that one's
`output`; nothing else connects them, so the ledger can tell from the files alone what has to run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """A stage to run once, as in ``python -m <module> --config <arguments>``."""

    name: str  # unique in the recipe and its place under the output root: "RLHF-V1/helpfulness_reward_model"
    module: str  # package whose __main__ holds main(argv): "reward_model"
    arguments: dict[str, Any]  # the stage's YAML merged with all overrides, without output_dir; JSON types only
    output: Path  # absolute folder that appears when the step is complete
    title: str  # what people see: "RLHF-V1 / helpfulness reward model"


class StepFailed(RuntimeError):
    """A step ended with an error of its own; the message names the step, the error and the log."""
