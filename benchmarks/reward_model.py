"""Reward modelling: our trainer against TRL's `RewardTrainer` on Anthropic HH, same model, pairs and optimiser steps.

``python -m benchmarks.reward_model [--num-steps 16] [--data hh_harmless_test.jsonl.gz]``: 16 pairs a step, fp32. TRL
runs three times: with its defaults; handed batches that are grouped by length already (ours); and so, with gradient
checkpointing off, which ours never needs. Every side is a process of its own, whose peak memory counts. Scoring is
`RewardScorer` against a loop over single conversations (`reward_model_scoring`); ``--only-scoring`` runs no more
than that. Both sides of the training render alike before the clock starts.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.comparison import Comparison, compare_speeds, show
from benchmarks.reward_model_scoring import WORKLOADS
from chat_model.conversation import PreferencePair
from chat_model.loading import load_causal_lm
from chat_model.rows import read_rows, write_rows
from chat_model.tokenizer import train_tokenizer
from reward_model.importers.anthropic_hh import to_pairs
from reward_model.importers.source_row import Unusable

DATA = Path(__file__).parents[2] / "shared" / "data" / "hh_harmless_test.jsonl.gz"
MODEL = (
    "tiny:hidden_size=256,intermediate_size=768,num_hidden_layers=4,num_attention_heads=8,num_key_value_heads=4,"
    "max_position_embeddings=1024"
)
VOCAB_SIZE = 4096
PAIRS_PER_STEP = 16
_MEMORY = ("peak_memory_mb", "training_memory_mb")
SIDES = ("ours", "trl", "trl_grouped", "trl_grouped_no_checkpointing", "scoring")
_SIDE_OF_TRL = {  # what a row of the table is called, and the run of TRL that it is compared to
    "pairs_per_second": "trl",
    "pairs_per_second_grouped": "trl_grouped",
    "pairs_per_second_grouped_no_checkpointing": "trl_grouped_no_checkpointing",
}


def run(num_steps: int, data: Path = DATA, model: str = MODEL, only_scoring: bool = False) -> Comparison:
    """Run every side in a process of its own; return pairs a second, peak memory and conversations a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, num_steps * PAIRS_PER_STEP, data, model)
        found = {side: _run_side(side, folder) for side in (SIDES[-1:] if only_scoring else SIDES)}
    ours, peer = ({}, {}) if only_scoring else _training(found)
    for workload in WORKLOADS:
        ours[f"conversations_per_second_{workload}"] = found["scoring"][workload]["ours"]
        peer[f"conversations_per_second_{workload}"] = found["scoring"][workload]["peer"]
    return compare_speeds("reward_model", ours, peer, costs=_MEMORY)


def _training(found: dict[str, dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the measurements of ours and of TRL, which has a run of its own for every row of speeds."""
    ours = {name: found["ours"]["pairs_per_second"] for name in _SIDE_OF_TRL}
    peer = {name: found[side]["pairs_per_second"] for name, side in _SIDE_OF_TRL.items()}
    ours |= {name: found["ours"][name] for name in _MEMORY}
    peer |= {name: found["trl"][name] for name in _MEMORY}
    return ours, peer


def prepare(folder: Path, num_pairs: int, data: Path, model: str) -> None:
    """Write `num_pairs` of the file's pairs, drawn with a seed, and a random model with a tokenizer of their text."""
    pairs = read_pairs(data)
    texts = (message.content for pair in pairs for message in pair.prompt + pair.chosen + pair.rejected)
    tokenizer = train_tokenizer(texts, VOCAB_SIZE)
    for part in (load_causal_lm(model, tokenizer), tokenizer):
        part.save_pretrained(folder / "model")
    write_rows(folder / "pairs.jsonl", (pair.to_row() for pair in random.Random(0).sample(pairs, num_pairs)))


def read_pairs(data: Path) -> list[PreferencePair]:
    """Return the usable pairs of an Anthropic HH file."""
    pairs = []
    for where, row in read_rows(data):
        try:
            pairs += to_pairs(row, where)
        except Unusable:
            continue
    return pairs


def _run_side(side: str, folder: Path) -> dict[str, Any]:
    print(f"{side} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.reward_model_sides", side, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout.splitlines()[-1], file=sys.stderr, flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Parse the command line, run and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-steps", type=int, default=16, help="optimiser steps of 16 pairs")
    parser.add_argument("--data", type=Path, default=DATA, help="a file of Anthropic HH")
    parser.add_argument("--model", default=MODEL, help="a tiny: model")
    parser.add_argument("--only-scoring", action="store_true", help="leave the training out")
    arguments = parser.parse_args()
    title = f"{arguments.num_steps} steps of {PAIRS_PER_STEP} pairs; the peer is TRL and, for scoring, a loop"
    show(run(**vars(arguments)), title)


if __name__ == "__main__":
    main()
