"""What a run leaves behind that nothing needs any more, and removing it.

A folder is renamed before it is removed, so that a removal cut short leaves no step that looks whole.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chat_model.errors import InputError, suggestion
from chat_model.stage import RUN_FILE, TRAINER_CHECKPOINT
from recipes.ledger import StepState

_OLD = ".old"


@dataclass(frozen=True)
class Leftover:
    """A file or folder that may go, why, and its size in bytes."""

    path: Path
    why: str
    size: int


def find_leftovers(root: Path, states: Sequence[StepState], steps: Sequence[str] = ()) -> list[Leftover]:
    """Return what may go from the output folder of a run, nothing of it inside another.

    That is unfinished work, what was replaced, steps that are stale or no longer the recipe's, the trainer's own
    checkpoints, and the finished steps that are asked for.

    Args:
        states: of the recipe's steps.
        steps: names of finished steps to remove as well; a round's name stands for all of its steps.

    Raises:
        InputError: a name that is no finished step.
    """
    reasons = {**dict(_orphans(root, states)), **dict(_by_name(root)), **dict(_stale(states))}
    reasons |= {state.step.output: "finished, asked for" for state in _named(states, steps)}
    paths = [path for path in reasons if not any(parent in reasons for parent in path.parents)]
    return [Leftover(path, reasons[path], _size(path)) for path in sorted(paths)]


def remove(leftovers: Sequence[Leftover]) -> None:
    """Remove them all."""
    for leftover in leftovers:
        if leftover.path.is_dir():
            old = leftover.path.with_name(leftover.path.name.removesuffix(_OLD) + _OLD)
            if old != leftover.path:
                shutil.rmtree(old, ignore_errors=True)
                leftover.path.rename(old)
            shutil.rmtree(old)
        else:
            leftover.path.unlink(missing_ok=True)


def _by_name(root: Path) -> Iterator[tuple[Path, str]]:
    for path in root.rglob("*"):
        if path.name.endswith(".partial"):
            yield path, "unfinished; a run would go on from it where the stage can" if path.is_dir() else "unfinished"
        elif path.name.endswith(_OLD):
            yield path, "replaced"
        elif TRAINER_CHECKPOINT.fullmatch(path.name) and path.is_dir():
            yield path, "the trainer's checkpoint; the step is done without it"


def _orphans(root: Path, states: Sequence[StepState]) -> Iterator[tuple[Path, str]]:
    known = {state.step.output for state in states}
    for file in root.rglob(RUN_FILE):
        if not known & {file.parent, *file.parent.parents}:
            yield file.parent, "finished, but no step of the recipe any more"


def _stale(states: Sequence[StepState]) -> Iterator[tuple[Path, str]]:
    return ((state.step.output, f"stale: {state.why}") for state in states if state.state == "stale")


def _named(states: Sequence[StepState], names: Sequence[str]) -> list[StepState]:
    found = []
    for name in names:
        own = [state for state in states if f"{state.step.name}/".startswith(f"{name.rstrip('/')}/")]
        finished = [state for state in own if state.state != "missing"]
        if not finished:
            known = [state.step.name for state in states if state.state != "missing"]
            reason = "has not finished" if own else f"is no step of this run{suggestion(name, known)}"
            raise InputError(f"--steps {name}: {reason}")
        found += finished
    return found


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
