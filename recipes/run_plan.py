"""What a run of a recipe would do: its steps in order, which are done, which would run and why, how, and how long.

The time is what the step took when it last finished, in this output folder or in another run of the recipe beside it.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chat_model.errors import InputError
from chat_model.stage import RUN_FILE
from recipes.chain import steps_of
from recipes.ledger import OWNER_FILE, StepState, plan, read_owner
from recipes.planner.devices import Device
from recipes.planner.estimate import Estimate, estimate
from recipes.recipe import Recipe
from recipes.step import Step
from recipes.step_config import launch_command, write_config

_UNFINISHED = "was stopped; a stage that can goes on from what it left"


@dataclass(frozen=True)
class PlannedStep:
    """A step's state, why it would run, the command that runs it, and the seconds it took when it last did."""

    state: StepState
    why: str
    command: str
    seconds: float | None
    estimate: Estimate | None = None  # on the GPU that was asked about

    @property
    def has_to_run(self) -> bool:
        """Whether a run would run it."""
        return self.state.state != "done"


def plan_run(recipe: Recipe, device: Device | None = None) -> list[PlannedStep]:
    """Return every step of `recipe` as it stands now, and what each will take on `device` where one is given.

    Raises:
        InputError: a mistake in the recipe.
    """
    steps = steps_of(recipe)
    earlier = _earlier_runs(recipe)
    return [
        PlannedStep(
            state,
            state.why or _unfinished(state.step),
            launch_command(state.step, recipe),
            _seconds(state, earlier),
            estimate(state.step, recipe, device, steps=steps) if device else None,
        )
        for state in plan(steps)
    ]


def write_configs(planned: Sequence[PlannedStep], recipe: Recipe) -> None:
    """Write the files that the commands of the steps to run name."""
    for each in planned:
        if each.has_to_run:
            write_config(each.state.step, recipe.root)


def _unfinished(step: Step) -> str:
    return _UNFINISHED if step.output.with_name(f"{step.output.name}.partial").exists() else ""


def _earlier_runs(recipe: Recipe) -> list[Path]:
    """Return the other output folders beside the recipe's root that hold a run of it."""
    owners = sorted(recipe.root.parent.glob(f"*/{OWNER_FILE}"))
    return [file.parent for file in owners if file.parent != recipe.root and _owner_name(file.parent) == recipe.name]


def _owner_name(folder: Path) -> str | None:
    try:
        return read_owner(folder)["name"]
    except InputError:  # a neighbour that is none of ours
        return None


def _seconds(state: StepState, earlier: Sequence[Path]) -> float | None:
    """Return the seconds of the step's run here, else of the newest one elsewhere."""
    if state.seconds is not None:
        return state.seconds
    records = []
    for folder in earlier:
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = json.loads((folder / state.step.name / RUN_FILE).read_text(encoding="utf-8"))
            records.append((record["finished"], record["seconds"]))
    return max(records)[1] if records else None
