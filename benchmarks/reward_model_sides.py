"""One side of `benchmarks.reward_model` in a process of its own, so that its peak memory is its own too.

``python -m benchmarks.reward_model_sides SIDE FOLDER`` prints its figures as one line of JSON.
"""

import contextlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from benchmarks.reward_model import PAIRS_PER_STEP
from benchmarks.reward_model_scoring import compare_scoring
from chat_model.loading import load_scalar_model, load_tokenizer
from chat_model.rows import read_preferences
from reward_model.data import encode_pairs
from reward_model.schedule import RewardModelConfig
from reward_model.steps import plan_steps
from reward_model.trainer import MarginRewardTrainer

MAX_LENGTH = 1024
BATCH_TOKENS = 4096  # the stage's default
_MEBIBYTE = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss, which counts bytes there and KiB elsewhere
SETTINGS: dict[str, Any] = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": PAIRS_PER_STEP,
    "learning_rate": 1e-4,
    "max_length": MAX_LENGTH,
    "bf16": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "seed": 0,
    **({} if torch.accelerator.is_available() else {"use_cpu": True, "dataloader_pin_memory": False}),
}


def ours(folder: Path) -> dict[str, float]:
    """Train as our stage does, its own defaults beside the common settings."""
    tokenizer, model, rows = _load(folder)
    config = RewardModelConfig(str(folder / "out"), **SETTINGS)
    trainer = MarginRewardTrainer(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer, batch_tokens=BATCH_TOKENS
    )
    return _train(trainer, len(rows))


def trl(folder: Path, **options: Any) -> dict[str, float]:
    """Train with TRL's trainer on the same token rows, its own defaults beside the common settings."""
    tokenizer, model, rows = _load(folder)
    if options:
        lengths = list(rows["length"])
        rows = rows.select([index for step in plan_steps(lengths, PAIRS_PER_STEP, seed=0) for index in step])
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(str(folder / "out"), **SETTINGS, **options),
        train_dataset=rows.select_columns(["chosen_ids", "rejected_ids", "margin"]),
        processing_class=tokenizer,
    )
    return _train(trainer, len(rows))


def scoring(folder: Path) -> dict[str, dict[str, float]]:
    """Score with `RewardScorer` and one conversation at a time; see `reward_model_scoring`."""
    tokenizer, model, _ = _load(folder)
    return compare_scoring(model, tokenizer, read_preferences(folder / "pairs.jsonl"))


def _load(folder: Path) -> tuple[Any, Any, Dataset]:
    tokenizer = load_tokenizer(folder / "model")
    torch.manual_seed(0)
    model = load_scalar_model(folder / "model", tokenizer)
    return tokenizer, model, encode_pairs(read_preferences(folder / "pairs.jsonl"), tokenizer, "none", MAX_LENGTH)


def _train(trainer: Any, num_pairs: int) -> dict[str, float]:
    before, began = _peak_memory(), time.process_time()
    metrics = trainer.train().metrics
    after, spent = _peak_memory(), time.process_time() - began
    return {
        "pairs_per_second": num_pairs / metrics["train_runtime"],
        "pairs_per_processor_second": num_pairs / spent,
        "train_loss": metrics["train_loss"],
        "peak_memory_mb": after,
        "training_memory_mb": after - before,
    }


def _peak_memory() -> float:
    """Return the most memory that this process has held: of the accelerator, or else of the machine, in MiB."""
    if torch.accelerator.is_available():
        return torch.accelerator.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MEBIBYTE


def main(side: str, folder: Path) -> dict[str, Any]:
    """Run one side of `benchmarks.reward_model.SIDES`."""
    grouped = {"train_sampling_strategy": "sequential"}
    match side:
        case "ours":
            return ours(folder)
        case "trl":
            return trl(folder)
        case "trl_grouped":
            return trl(folder, **grouped)
        case "trl_grouped_no_checkpointing":
            return trl(folder, **grouped, gradient_checkpointing=False)
        case _:
            return scoring(folder)


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        figures = main(sys.argv[1], Path(sys.argv[2]))
    print(json.dumps(figures))
