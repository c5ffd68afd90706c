"""What our stages add to a Hugging Face trainer: log lines in `metrics.jsonl`, resume, and a clean output folder."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from chat_model.idleness import IdleWatch, PhaseClock, named_seconds
from chat_model.processes import on_cpu_only
from chat_model.stage import StageRun


class MetricsLog(TrainerCallback):
    """Writes every log line of a trainer, with its step and the seconds of its phases, to `metrics.jsonl`.

    ``seconds_data`` waited for batches, ``seconds_step`` and ``seconds_evaluate`` computed, ``seconds_other`` logged
    and saved, each since the line before. Where data or the rest keep an accelerator waiting, a warning says so once.
    """

    def __init__(self, run: StageRun):
        self.run, self.clock, self.watch, self.has_accelerator = run, PhaseClock(), IdleWatch(), not on_cpu_only()

    def on_train_begin(self, args, state, control, **kwargs):
        """On resume, forget the lines logged after the checkpoint, which are about to be written again."""
        self.clock.restart()
        if state.is_world_process_zero:
            self.run.forget_after(state.global_step)

    def on_step_begin(self, args, state, control, **kwargs):
        """The batches of an optimiser step are here."""
        self.clock.close("data")

    def on_step_end(self, args, state, control, **kwargs):
        """An optimiser step is over, on the accelerator as well."""
        if self.has_accelerator:
            torch.accelerator.synchronize()
        self.clock.close("step")

    def on_save(self, args, state, control, **kwargs):
        """A checkpoint is written."""
        self.clock.close("other")

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Append the line; called by the trainer on every process, written by the main one."""
        self.clock.close("evaluate" if any(name.startswith("eval_") for name in logs or {}) else "other")
        seconds = self.clock.take() if "loss" in (logs or {}) else {}
        if state.is_world_process_zero:
            self.run.log({"step": state.global_step, **(logs or {}), **named_seconds(seconds)})
            self._warn_if_idle(seconds)

    def _warn_if_idle(self, seconds: dict[str, float]) -> None:
        said = self.watch.look(seconds, ("data", "other")) if seconds and self.has_accelerator else None
        if said:
            self.run.record(notices=[*self.run.metrics.get("notices", []), said])
            warnings.warn(said, stacklevel=2)


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
