"""Sampling on two processes gives the samples of one, in the same order."""

import json
import os
import subprocess
import sys

from chat_model.conversation import Message
from chat_model.generation import sample
from chat_model.loading import load_causal_lm, load_tokenizer

SCRIPT = """
import os
import json, sys
from accelerate import Accelerator
from chat_model.conversation import Message
from chat_model.generation import sample
from chat_model.loading import load_causal_lm, load_tokenizer

accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
folder, prompts, settings = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
prompts = [[Message("user", text)] for text in prompts]
samples = sample(load_causal_lm(folder), load_tokenizer(folder), prompts, **settings)
if accelerator.is_main_process:
    with open(sys.argv[4], "w") as file:
        json.dump([samples.response_ids, samples.texts], file)
accelerator.wait_for_everyone()
accelerator.state.destroy_process_group()
os._exit(0)  # at the interpreter's own end gloo's threads abort now and then
"""
PROMPTS = ["what color is the fox?", "hi", "where does the owl live? please tell me.", "the owl", "hello there", "no"]
SETTINGS = {"num_samples": 3, "max_new_tokens": 5, "seed": 4, "batch_tokens": 60, "progress": False}


def test_two_processes_equal_one(tiny_checkpoint, tmp_path):
    (tmp_path / "draw.py").write_text(SCRIPT)
    # Not `accelerate launch --cpu --num_processes 2`: without MPI it starts a single process and says nothing.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [str(tmp_path / "draw.py"), str(tiny_checkpoint), json.dumps(PROMPTS), json.dumps(SETTINGS)]
    arguments.append(str(tmp_path / "samples.json"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    ran = subprocess.run([*launch, *arguments], capture_output=True, text=True, timeout=200, env=environment)
    assert ran.returncode == 0, ran.stderr

    prompts = [[Message("user", text)] for text in PROMPTS]
    alone = sample(load_causal_lm(tiny_checkpoint), load_tokenizer(tiny_checkpoint), prompts, **SETTINGS)
    assert json.loads((tmp_path / "samples.json").read_text()) == [alone.response_ids, alone.texts]
