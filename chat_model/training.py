"""What our stages add to a Hugging Face trainer: log lines in `metrics.jsonl`, resume, and a clean output folder."""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from chat_model.stage import StageRun


class MetricsLog(TrainerCallback):
    """Writes every log line of a trainer, with its step, to `metrics.jsonl`."""

    def __init__(self, run: StageRun):
        self.run = run

    def on_train_begin(self, args, state, control, **kwargs):
        """On resume, forget the lines logged after the checkpoint, which are about to be written again."""
        if state.is_world_process_zero:
            self.run.forget_after(state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Append the line; called by the trainer on every process, written by the main one."""
        if state.is_world_process_zero:
            self.run.log({"step": state.global_step, **(logs or {})})


def resume_from(run: StageRun) -> str | None:
    """Return the newest whole checkpoint that a killed run left in its folder, or None."""
    if not run.resumed:
        return None
    steps = [int(checkpoint.name.rpartition("-")[2]) for checkpoint in _checkpoints(run) if _is_whole(checkpoint)]
    return str(run.folder / f"{PREFIX_CHECKPOINT_DIR}-{max(steps)}") if steps else None


def finish(run: StageRun, trainer: Any) -> None:
    """Save model and tokenizer in `run.folder` and remove what only a resume would need."""
    trainer.save_model(str(run.folder))
    if run.is_main:
        for checkpoint in _checkpoints(run):
            (checkpoint / TRAINER_STATE_NAME).unlink(missing_ok=True)  # first: what a kill leaves of it is not whole
            shutil.rmtree(checkpoint)
        (run.folder / "training_args.bin").unlink(missing_ok=True)


def _checkpoints(run: StageRun) -> list[Path]:
    return list(run.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"))


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was saved to its end: the trainer writes its state last."""
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
