"""The ledger: which steps of a recipe are done, and running the ones that are not.

It keeps no book of its own. A step is done when the `run.json` in its output folder names the arguments and the input
fingerprints that it would start with now, and the files it lists are as long as they were; so a killed run continues
where it stopped, an edited YAML reruns what hangs on it and nothing else, and a step whose checkpoint or rows were cut
short makes them anew. What changed without getting shorter is the reader's to find.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chat_model.errors import InputError
from chat_model.rows import remove_unfinished, write_json
from chat_model.stage import RUN_FILE, find_damage, find_inputs
from recipes.chain import steps_of
from recipes.launch import check_module, launch
from recipes.progress import Progress
from recipes.recipe import Recipe, read_recipe
from recipes.step import Step
from recipes.step_config import CONFIGS

OWNER_FILE = "recipe.json"
LOCK_FILE = ".lock"


@dataclass(frozen=True)
class StepState:
    """What the ledger knows of a step: done, stale (with the reason) or missing."""

    step: Step
    state: Literal["done", "stale", "missing"]
    why: str = ""
    seconds: float | None = None  # of the finished run
    notes: tuple[str, ...] = ()  # what the finished run left for people to know


def plan(steps: Sequence[Step]) -> list[StepState]:
    """Return the state of every step as it is now; a step that reads from one that has to run is stale, too."""
    states: list[StepState] = []
    for step in steps:
        to_run = [state.step for state in states if state.state != "done"]
        states.append(_state_of(step, to_run))
    return states


def run(recipe: Recipe) -> None:
    """Run every step of `recipe` that is not done, in order, showing which one is running and for how long.

    Raises:
        InputError: a user's mistake in the recipe, the output root or a step (which its message then names).
        StepFailed: a step ended with an error; what stands in the output root is whole and a later run continues.
    """
    steps = steps_of(recipe)
    for step in steps:
        check_module(step)
    with _claim(recipe) as lock, Progress(len(steps)) as progress:
        for step in steps:
            # Looked at only now: an earlier step that has just run anew gives this one another fingerprint.
            state = _state_of(step, to_run=())
            if state.state == "done":
                progress.skip(step)
                continue
            with progress.running(step, state.why) as output:
                launch(step, recipe, output, lock)
            progress.tell(step, _state_of(step, to_run=()).notes)


def _state_of(step: Step, to_run: Sequence[Step]) -> StepState:
    """Compare a step with its `run.json`; `to_run` are earlier steps that are known to run before it."""
    if not (step.output / RUN_FILE).exists():
        return StepState(step, "missing")
    try:
        record = json.loads((step.output / RUN_FILE).read_text(encoding="utf-8"))
        arguments, inputs, seconds = record["arguments"], record["inputs"], record["seconds"]
        files, notes = record.get("files", {}), tuple(record.get("notes", ()))
    except (OSError, ValueError, KeyError, TypeError):
        return StepState(step, "stale", f"its {RUN_FILE} cannot be read")
    why = (
        _first_difference("argument", arguments, step.arguments)
        or _upstream_to_run(step, to_run)
        or _first_difference("input", inputs, find_inputs(step.arguments), show=False)
        or find_damage(step.output, files)
    )
    return StepState(step, "stale" if why else "done", why, seconds, notes)


def _first_difference(what: str, then: dict[str, Any], now: dict[str, Any], show: bool = True) -> str:
    """Say which key of the two differs first; an empty text when none does."""
    for key in {**then, **now}:
        if key not in now:
            return f"{what} {key} is gone"
        if key not in then:
            return f"{what} {key} is new"
        if then[key] != now[key]:
            return f"{what} {key} was {then[key]!r}, is {now[key]!r}" if show else f"{what} {key} changed"
    return ""


def _upstream_to_run(step: Step, to_run: Sequence[Step]) -> str:
    inputs = [Path(path) for path in find_inputs(step.arguments)]
    for upstream in to_run:
        if any(path.is_relative_to(upstream.output) for path in inputs):
            return f"needs '{upstream.name}', which has to run"
    return ""


@contextlib.contextmanager
def _claim(recipe: Recipe) -> Iterator[int]:
    """Hold the output root for this recipe and this process; yields the lock's file descriptor."""
    _refuse_foreign_root(recipe)
    with hold(recipe.root) as descriptor:
        owner = {"name": recipe.name, "folder": str(recipe.folder), "settings": list(recipe.settings)}
        with _writing_to(recipe.root):
            remove_unfinished(recipe.root, below=False)
            remove_unfinished(recipe.root / CONFIGS)
            write_json(recipe.root / OWNER_FILE, owner)
        yield descriptor


@contextlib.contextmanager
def hold(root: Path) -> Iterator[int]:
    """Keep other processes out of the output folder `root`; yields the lock's file descriptor.

    Raises:
        InputError: another process holds it, or it cannot be written to.
    """
    descriptor = _open_lock(root)
    try:
        _lock(descriptor, root)
        yield descriptor
    finally:
        os.close(descriptor)


def _open_lock(root: Path) -> int:
    with _writing_to(root):
        root.mkdir(parents=True, exist_ok=True)
        return os.open(root / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)


@contextlib.contextmanager
def _writing_to(root: Path) -> Iterator[None]:
    """Turn a read-only or full output root into a user's mistake."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{root}: cannot be written to ({error.strerror}); choose another --output") from error


def _lock(descriptor: int, root: Path) -> None:
    """Take the lock, which the system drops when its owner (and what the owner launched) dies, however it dies."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{root}: in use by {_owner(descriptor)}") from None
    with _writing_to(root):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def _owner(descriptor: int) -> str:
    """Return who holds the lock, as its file tells, and what to do about it."""
    number = os.pread(descriptor, 32, 0).decode().strip()
    try:
        os.kill(int(number), 0)
    except (ValueError, ProcessLookupError):
        return f"what process {number} had launched before it was killed; wait until that has ended, or end it"
    except PermissionError:
        pass
    return f"process {number}; wait until it, and what it started, has ended"


def _refuse_foreign_root(recipe: Recipe) -> None:
    root = recipe.root
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is a file; expected a folder to write to")
    if not root.exists() or not {file.name for file in root.iterdir()} - {LOCK_FILE}:
        return
    name = read_owner(root)["name"]
    if name != recipe.name:
        raise InputError(f"{root}: holds a run of recipe '{name}', not '{recipe.name}'; choose another --output")


def read_owner(root: Path) -> dict[str, Any]:
    """Return name, folder and settings of the recipe whose run stands in `root`. Raises InputError if none does."""
    try:
        owner = json.loads((root / OWNER_FILE).read_text(encoding="utf-8"))
        return {key: owner[key] for key in ("name", "folder", "settings")}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{root}: holds no run of a recipe (no {OWNER_FILE}); choose another folder") from None


def status(root: Path) -> list[StepState]:
    """Return the state of every step of the run in `root`, judged by its recipe's files as they are now."""
    owner = read_owner(root)
    return plan(steps_of(read_recipe(owner["folder"], root, owner["settings"])))
