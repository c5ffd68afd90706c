"""Supervised fine-tuning: our `sft` stage against TRL's `SFTTrainer` as a user calls it, same model, rows and steps.

``python -m benchmarks.sft [--num-rows 512] [--repeats 3]``. The peer gets ``messages`` and ``assistant_only_loss``. Two
speeds: of training alone, and from the file to the saved checkpoint (reading, tokenizing, saving). The best of the
repeats counts, the two sides taking turns.
"""

import argparse
import contextlib
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparison import Comparison, compare_speeds, show
from benchmarks.workload import make_conversations, save_checkpoint
from chat_model.rows import write_rows

SETTINGS: dict[str, Any] = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-3,
    "max_length": 512,
    "logging_steps": 10,
    "save_strategy": "no",
    "gradient_checkpointing": False,
    "seed": 0,
    **({} if torch.accelerator.is_available() else {"bf16": False, "use_cpu": True, "dataloader_pin_memory": False}),
}


def run(num_rows: int, repeats: int) -> Comparison:
    """Train both ways, in turns, and return tokens a second."""
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
        folder = Path(name)
        conversations = make_conversations(num_rows)
        save_checkpoint(folder / "model", conversations)
        write_rows(folder / "rows.jsonl", (row.to_row() for row in conversations))
        importlib.import_module("trl.trainer.sft_trainer")  # seconds that should be on neither side's clock
        turns = [(_ours(folder, repeat), _peer(folder, repeat)) for repeat in range(repeats)]
        tokens = _tokens(folder)
    ours, peer = (_best(tokens, side) for side in zip(*turns, strict=True))
    return compare_speeds("sft", ours, peer)


def _ours(folder: Path, repeat: int) -> dict[str, float]:
    """Run the stage as its command does; return the seconds of training and in all."""
    from sft.__main__ import main as sft

    output = folder / f"ours_{repeat}"
    places = {"model_name_or_path": folder / "model", "dataset_name": folder / "rows.jsonl", "output_dir": output}
    began = time.perf_counter()
    sft([word for field, value in {**places, **SETTINGS}.items() for word in (f"--{field}", str(value))])
    seconds = time.perf_counter() - began
    return {"training": json.loads((output / "run.json").read_text())["metrics"]["train_seconds"], "whole": seconds}


def _peer(folder: Path, repeat: int) -> dict[str, float]:
    """Train as TRL's documentation shows; return the seconds of training and in all."""
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    output = str(folder / f"peer_{repeat}")
    began = time.perf_counter()
    rows = load_dataset("json", data_files=str(folder / "rows.jsonl"), split="train", cache_dir=f"{output}_cache")
    config = SFTConfig(output, assistant_only_loss=True, report_to="none", **SETTINGS)
    config.model_init_kwargs = {"dtype": "float32"}
    trainer = SFTTrainer(str(folder / "model"), args=config, train_dataset=rows)
    training = trainer.train().metrics["train_runtime"]
    trainer.save_model()
    return {"training": training, "whole": time.perf_counter() - began}


def _tokens(folder: Path) -> int:
    """Return the tokens of one pass over the rows, which both sides trained on."""
    return json.loads((folder / "ours_0" / "run.json").read_text())["counts"]["train"]["tokens"]


def _best(tokens: int, seconds: tuple[dict[str, float], ...]) -> dict[str, float]:
    names = {"training": "tokens_per_second_training", "whole": "tokens_per_second_file_to_checkpoint"}
    return {label: round(tokens / min(turn[name] for turn in seconds), 1) for name, label in names.items()}


def main() -> None:
    """Parse the command line, run and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-rows", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    title = f"{arguments.num_rows} conversations, one epoch, best of {arguments.repeats}"
    show(run(arguments.num_rows, arguments.repeats), title)


if __name__ == "__main__":
    main()
