"""Examine a recipe step by step: its configuration as the stage parses it, then the stage's own checks.

`recipes` imports no trainer: a stage is asked by the names of its modules, `__main__` for its configuration (started
with ``--dry_run``) and `checks` for the rest. What a step reads from one that has not run yet is named as waiting.
"""

import importlib
import importlib.util
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from chat_model.check_up import CheckUp, Maker
from chat_model.dotted import resolve
from chat_model.errors import InputError
from chat_model.stage import DRY_RUN, RUN_FILE, DryRun
from recipes.chain import steps_of
from recipes.doctor.models import check_models, why_unreadable
from recipes.doctor.room import check_disk, check_memory
from recipes.launch import check_module
from recipes.ledger import plan
from recipes.planner.devices import Device
from recipes.planner.lineage import line_of, maker_of
from recipes.recipe import Recipe
from recipes.step import Step


def examine(recipe: Recipe, device: Device, rows_shown: int = 1) -> Iterator[tuple[str, CheckUp]]:
    """Yield the finished check-up of the recipe as a whole, named "", and then that of every step, in order.

    Raises:
        InputError: the recipe itself cannot be read as steps.
    """
    from chat_model.stand_in import StandIns

    steps = steps_of(recipe)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what loading has to say is no finding
        models = StandIns(Path(folder), lambda name: line_of(name, steps), lambda name: why_unreadable(name) is None)
        whole = CheckUp(
            models,
            rows_shown=rows_shown,
            scratch=Path(folder),
            launch=recipe.launch,
            tensor_parallel=recipe.tensor_parallel,
        )
        check_models(whole, steps)
        to_run = [state.step for state in plan(steps) if state.state != "done"]
        check_disk(whole, to_run, recipe.root, steps)
        yield "", whole
        for step in steps:
            check_up = _of_step(whole, step, steps)
            _examine_step(check_up, step, recipe, device, steps)
            yield step.name, check_up


def _of_step(whole: CheckUp, step: Step, steps: Sequence[Step]) -> CheckUp:
    """Return a new check-up for a step, which shares models and stand-ins with all others."""

    def maker(path: str) -> Maker | None:
        made_by = None if Path(path).exists() else maker_of(path, steps)
        return Maker(made_by.name, made_by.arguments) if made_by else None

    output = step.output if (step.output / RUN_FILE).is_file() else None
    return replace(whole, maker_of=maker, output=output, findings=[], passed=[], waiting={}, shown=[])


def _examine_step(check_up: CheckUp, step: Step, recipe: Recipe, device: Device, steps: Sequence[Step]) -> None:
    with check_up.check("module", "the step cannot be started", "correct the step's `module` in recipe.yaml"):
        check_module(step)
    if check_up.failed("module"):
        return
    configs = read_configs(check_up, step)
    check_memory(check_up, step, recipe, device, steps)
    name = f"{step.module}.checks"
    if configs is not None and importlib.util.find_spec(name):
        with check_up.check(
            "checks of the stage",
            "a check broke on this input, and the checks after it were left out; the stage may break on it, too",
            "look at the other findings first, then at the error",
            Exception,
        ):
            resolve(f"{name}.check")(check_up, *configs)


def read_configs(check_up: CheckUp, step: Step) -> tuple[Any, ...] | None:
    """Return the configuration that the stage makes of a step's arguments, or None where it refuses them."""
    with (
        check_up.check(
            "configuration",
            "the stage would refuse it when its turn comes, however long the steps before it took",
            "correct the field in the recipe's YAML, or the value given with --set",
            ValueError,
            ImportError,
        ),
        tempfile.TemporaryDirectory() as folder,
    ):
        file = Path(folder) / "step.yaml"
        content = {**step.arguments, "output_dir": str(step.output)}
        file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        return _dry_run(check_up, step, file)
    return None


def _dry_run(check_up: CheckUp, step: Step, file: Path) -> tuple[Any, ...] | None:
    try:
        importlib.import_module(f"{step.module}.__main__").main(["--config", str(file), DRY_RUN])
    except DryRun as end:
        return end.configs
    except InputError as error:
        raise InputError(str(error).replace(str(file), step.name)) from error
    except SystemExit:  # a stage with a parser of its own
        check_up.waiting["configuration"] = f"a module '{step.module}' that takes {DRY_RUN}"
    return None
