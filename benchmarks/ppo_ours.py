"""Our side of the PPO benchmarks: the stage's own loop, `rlhf.ppo.train`, over the files of `benchmarks.ppo_workload`.

Run as ``python -m benchmarks.ppo_ours SETTINGS RESULTS``, two JSON files; the peer's side takes the same two.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.ppo_workload import share_of_even_words
from chat_model.stage import StageRun
from reward_model.scoring import RewardScorer
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.models.interface import Scorer, Scorers
from rlhf.ppo.train import train


class TimedRun(StageRun):
    """A run that keeps the clocks and the metrics at the end of each iteration."""

    def start(self) -> None:
        """Start the clocks."""
        self.rows: list[dict[str, float]] = []
        self.ends = [(time.perf_counter(), time.process_time())]

    def log(self, row: dict[str, float]) -> None:
        """Note the end of an iteration and its metrics."""
        self.ends.append((time.perf_counter(), time.process_time()))
        self.rows.append(row)


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train and return, for each iteration, seconds of wall and processor, seconds by phase, mean score and length."""
    folder = Path(settings["folder"])
    run = TimedRun(folder / f"ours_{settings['seed']}")
    run.folder.mkdir()
    scorers = Scorers(_helpfulness(settings), _always_safe)
    torch.manual_seed(settings["seed"])
    run.start()
    train(run, _config(settings), scorers)
    phases = ("sample", "log_probs", "score", "update")
    names = {"scores": "reward", "stopped": "stopped", "lengths": "response_length"}
    return {
        "seconds": [end - begin for (begin, _), (end, _) in zip(run.ends, run.ends[1:], strict=False)],
        "cpu_seconds": [end - begin for (_, begin), (_, end) in zip(run.ends, run.ends[1:], strict=False)],
        "phases": {phase: [row[f"seconds_{phase}"] for row in run.rows] for phase in phases},
        **{name: [row[metric] for row in run.rows] for name, metric in names.items()},
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _config(settings: dict[str, Any]) -> PPOConfig:
    folder = Path(settings["folder"])
    fields = ("seed", "batch_size", "mini_batch_size", "num_iterations", "max_new_tokens", "kl_coefficient")
    return PPOConfig(
        model_name_or_path=str(folder / "policy"),
        helpfulness_reward_model=str(folder / "reward"),
        safety_reward_model="unused",
        prompts=str(folder / "prompts.jsonl"),
        learning_rate=settings["learning_rate"],
        critic_learning_rate=settings["learning_rate"],
        critic_warmup_iterations=0,
        micro_batch_tokens=settings["micro_batch_tokens"],
        old_log_probs="sampler",  # as the peer does
        save_every=0,
        max_kl=None,  # the peer goes on whatever the KL
        **{field: settings[field] for field in fields},
    )


def _helpfulness(settings: dict[str, Any]) -> Scorer:
    """One reward model speaks, as at the peer's; ours would read a second one for safety."""
    if settings["reward"] == "model":
        folder = Path(settings["folder"]) / "reward"
        return RewardScorer.from_checkpoint(folder, settings["micro_batch_tokens"]).score
    return share_of_even_words


def _always_safe(conversations) -> torch.Tensor:
    return torch.full((len(conversations),), 10.0)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))))
