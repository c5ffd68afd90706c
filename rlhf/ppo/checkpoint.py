"""Checkpoints from which a killed run continues as if it had not been killed.

Accelerate saves policy, critic, optimiser and the random state of every rank; the position in the data follows from the
iteration. A checkpoint is written beside its name and renamed when whole, so a name that stands is always good.
"""

import shutil
from pathlib import Path

from accelerate import Accelerator

from chat_model.rows import read_rows, write_rows

_FOLDER = "checkpoints"


def save_checkpoint(accelerator: Accelerator, folder: Path, iterations: int) -> None:
    """Save the state after `iterations` whole iterations below `folder`, and drop the checkpoints before it."""
    target = folder / _FOLDER / f"iteration-{iterations:06d}"
    partial = target.with_suffix(".partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        partial.rename(target)
        for older in sorted(_whole(folder))[:-1]:
            shutil.rmtree(older)
    accelerator.wait_for_everyone()


def resume(accelerator: Accelerator, folder: Path) -> int:
    """Load the newest whole checkpoint below `folder` and return how many iterations it holds; 0 when there is none.

    Lines of `metrics.jsonl` from after the checkpoint are dropped, since those iterations run again.
    """
    whole = sorted(_whole(folder))
    iterations = int(whole[-1].name.split("-")[1]) if whole else 0
    if whole:
        accelerator.load_state(str(whole[-1]))
    metrics = folder / "metrics.jsonl"
    if accelerator.is_main_process and metrics.exists():
        write_rows(metrics, [row for _, row in read_rows(metrics) if row["iteration"] <= iterations])
    accelerator.wait_for_everyone()
    return iterations


def remove_checkpoints(accelerator: Accelerator, folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    if accelerator.is_main_process:
        shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def _whole(folder: Path) -> list[Path]:
    return [path for path in (folder / _FOLDER).glob("iteration-*") if path.suffix != ".partial"]
