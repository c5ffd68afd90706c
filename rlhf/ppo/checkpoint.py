"""Checkpoints from which a killed run continues as if it had not been killed.

Accelerate saves policy, critic, optimiser and the random state of every rank; `state.json` beside them holds the rest
(see `TrainingState`) and the configuration. A checkpoint is written beside its name and renamed when whole, and the one
before it goes only then: a name that stands is always good, and the newest one wins.
"""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from chat_model.errors import InputError
from chat_model.rows import write_json
from chat_model.stage import changes, plain
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.guards import TrainingFault
from rlhf.ppo.state import TrainingState

_FOLDER = "checkpoints"
_STATE_FILE = "state.json"
_FULL_DISK = ("No space left", "inline_container.cc")  # as safetensors and torch.save word it


def save_checkpoint(accelerator: Accelerator, folder: Path, state: TrainingState, config: PPOConfig) -> None:
    """Save all that a run needs after ``state.iterations`` iterations, below `folder`; drop the checkpoints before it.

    Raises:
        TrainingFault: the disk is full; the checkpoint before stays.
    """
    target = folder / _FOLDER / f"iteration-{state.iterations:06d}"
    partial = target.with_suffix(".partial")
    with removed_if_disk_is_full(partial):
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial))
        if accelerator.is_main_process:
            write_json(partial / _STATE_FILE, {"state": asdict(state), "started": _started(accelerator, config)})
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        partial.rename(target)
        for older in checkpoints(folder)[:-1]:
            shutil.rmtree(older)
    accelerator.wait_for_everyone()


@contextmanager
def removed_if_disk_is_full(partial: Path) -> Iterator[None]:
    """Write to `partial` in a ``with`` block; on a full disk remove it, so that the rest of the run can be saved.

    Raises:
        TrainingFault: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) != errno.ENOSPC and not any(words in str(error) for words in _FULL_DISK):
            raise
        shutil.rmtree(partial, ignore_errors=True)
        raise TrainingFault(
            f"{partial}: no space left on the disk; make room and start the same command again, which continues from "
            "the checkpoint before"
        ) from error


def checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints below `folder`, the newest last."""
    return sorted(path for path in (folder / _FOLDER).glob("iteration-*") if path.suffix != ".partial")


def newest_state(folder: Path) -> TrainingState:
    """Return the state of the newest whole checkpoint below `folder`, which must have one."""
    return TrainingState(**_read(checkpoints(folder)[-1])["state"])


def resume(accelerator: Accelerator, folder: Path, config: PPOConfig) -> TrainingState:
    """Load the newest whole checkpoint below `folder` and return its state; a new run's where there is none.

    Raises:
        InputError: the checkpoint is of another configuration or number of processes (names the fields).
    """
    if not (whole := checkpoints(folder)):
        return TrainingState(config.kl_coefficient)
    if changed := changes(_read(whole[-1])["started"], _started(accelerator, config)):
        raise InputError(
            f"{whole[-1]}: is of other settings: {'; '.join(changed)}. Give these back to continue, or remove {folder} "
            "to begin anew"
        )
    accelerator.load_state(str(whole[-1]))
    accelerator.wait_for_everyone()
    return newest_state(folder)


def remove_checkpoints(accelerator: Accelerator, folder: Path) -> None:
    """Remove what only an unfinished run needs; renamed first, as a kill may leave a part of it."""
    if accelerator.is_main_process and (folder / _FOLDER).exists():
        removed = folder / f"{_FOLDER}.removed"
        shutil.rmtree(removed, ignore_errors=True)
        shutil.rmtree((folder / _FOLDER).rename(removed))


def _read(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / _STATE_FILE).read_text(encoding="utf-8"))


def _started(accelerator: Accelerator, config: PPOConfig) -> dict[str, Any]:
    """What a resumed run must have in common with the one that saved, in the form of `chat_model.stage.changes`."""
    fields = {name: value for name, value in asdict(config).items() if name != "output_dir"}
    return {"arguments": plain({**fields, "number of processes": accelerator.num_processes}), "inputs": {}}
