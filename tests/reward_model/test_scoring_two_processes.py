"""Scoring on two processes gives the scores of one, in the same order, each text on one of the two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from chat_model.conversation import Message
from reward_model.scoring import RewardScorer

SCRIPT = """
import json, os, sys
from accelerate import Accelerator
from chat_model.conversation import Message
from chat_model.processes import leave_process_group
from reward_model.scoring import RewardScorer

accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
folder, cache, output, texts = *sys.argv[1:4], json.loads(sys.argv[4])
scorer = RewardScorer.from_checkpoint(folder, batch_tokens=60, cache=cache)
score_batch, rows = scorer._score_batch, []

def counting(groups):
    rows.append(sum(map(len, groups)))
    return score_batch(groups)

scorer._score_batch = counting
conversations = [[Message("user", "what is it?"), Message("assistant", text)] for text in texts]
shared = scorer.score(conversations[:-1], across_processes=True).tolist()
counted = sum(rows)
own = scorer.score(conversations[accelerator.process_index :: 2]).tolist()  # what PPO does: each its own rows
again = scorer.score(conversations, across_processes=True).tolist()
with open(f"{output}.{accelerator.process_index}", "w") as file:
    json.dump({"shared": shared, "counted": counted, "own": own, "again": again, "rows": sum(rows)}, file)
accelerator.wait_for_everyone()
leave_process_group()
sys.stderr.flush()
os._exit(0)  # at the interpreter's own end gloo's threads abort now and then
"""
TEXTS = [f"the {animal} is {'very ' * count}red." for count in range(6) for animal in ("owl", "fox")] + ["the owl?"]


def test_two_processes_equal_one(tiny_reward_checkpoint, tmp_path):
    (tmp_path / "score.py").write_text(SCRIPT)
    # Not `accelerate launch --cpu --num_processes 2`: without MPI it starts a single process and says nothing.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [tmp_path / "score.py", tiny_reward_checkpoint, tmp_path / "cache", tmp_path / "scores"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "ACCELERATE_USE_CPU": "true"}
    command = [*launch, *map(str, arguments), json.dumps(TEXTS)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert ran.returncode == 0, ran.stderr

    conversations = [[Message("user", "what is it?"), Message("assistant", text)] for text in TEXTS]
    alone = RewardScorer.from_checkpoint(tiny_reward_checkpoint, batch_tokens=60, device="cpu").score(conversations)
    results = [json.loads((tmp_path / f"scores.{rank}").read_text()) for rank in (0, 1)]
    for rank, result in enumerate(results):
        torch.testing.assert_close(torch.tensor(result["shared"]), alone[:-1], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(torch.tensor(result["own"]), alone[rank::2], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(torch.tensor(result["again"]), alone, atol=1e-6, rtol=1e-6)
    assert min(result["counted"] for result in results) >= 4, "one process did nearly all the work"
    assert sum(result["counted"] for result in results) == len(TEXTS) - 1
    assert sum(result["rows"] for result in results) == len(TEXTS), "a sample was scored twice"
