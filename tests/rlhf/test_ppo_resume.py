"""Runs that are killed outright, on one process, two, and shards; gradients that know neither ranks nor shards."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from chat_model.conversation import Message, Prompt
from chat_model.rows import write_rows
from rlhf.ppo.saved_rollouts import rollout_rows

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)  # all scenarios run before the first test
needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
SHARDED = ["fsdp2", *(pytest.param(kind, marks=needs_deepspeed) for kind in ("zero2", "zero3"))]
KILLED = ["score-1-1", "score-3-1", "save-2-1", "score-4-1", "save-2-2", "score-4-2"]


@pytest.fixture(scope="module")
def scenarios(tiny_checkpoint, tiny_reward_checkpoint, tiny_tokenizer, rollout, tmp_path_factory):
    """The folder that `ppo_processes.py` filled: whole, killed and continued runs, and gradients."""
    folder = tmp_path_factory.mktemp("killed")
    prompts = [Prompt((Message("user", f"what about the {word}"),), word == "owl") for word in ("fox", "owl", "café")]
    write_rows(folder / "prompts.jsonl", [prompt.to_row() for prompt in prompts])
    settings = {
        "model_name_or_path": str(tiny_checkpoint),
        "helpfulness_reward_model": str(tiny_reward_checkpoint),
        "safety_reward_model": "unused",
        "prompts": str(folder / "prompts.jsonl"),
        "held_out_prompts": str(folder / "prompts.jsonl"),
        "evaluate_every": 2,
        "kl_target": 0.05,
        "kl_horizon": 20,
        "num_iterations": 4,
        "batch_size": 8,
        "mini_batch_size": 4,
        "max_new_tokens": 6,
        "learning_rate": 1e-3,
        "critic_learning_rate": 1e-3,
        "critic_warmup_iterations": 1,
        "save_every": 1,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    write_rows(folder / "rollout.jsonl", rollout_rows(rollout, tiny_tokenizer))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    environment |= {"DS_ACCELERATOR": "cpu"}
    command = [sys.executable, str(Path(__file__).with_name("ppo_processes.py")), str(folder)]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    (folder / "log.txt").write_text(ran.stderr)
    return folder


def read_metrics(folder) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


@pytest.mark.parametrize("name", KILLED)
def test_a_run_killed_anywhere_equals_the_uninterrupted_one_bit_for_bit(scenarios, name):
    from safetensors.torch import load_file

    ranks = int(name[-1])
    endings = json.loads((scenarios / "endings.json").read_text())
    assert endings[name] == [-9] * ranks, "it was to be killed"
    assert endings[f"{name} again"] == endings[f"whole-{ranks}"] == [0] * ranks, (scenarios / "log.txt").read_text()
    rows = read_metrics(scenarios / name)
    assert rows == read_metrics(scenarios / f"whole-{ranks}") and [row["iteration"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[1]["kl_coefficient"] != rows[4]["kl_coefficient"], "beta never moved, so its state went untested"
    assert "held_out_reward" in rows[2] and "held_out_reward" not in rows[3]
    whole = load_file(scenarios / f"whole-{ranks}" / "model.safetensors")
    continued = load_file(scenarios / name / "model.safetensors")
    assert all(torch.equal(whole[weight], continued[weight]) for weight in whole)
    assert not list((scenarios / name).glob("checkpoints")) and not list((scenarios / name).glob("best"))


def test_two_processes_learn_what_one_does(scenarios):
    one, two = (read_metrics(scenarios / f"whole-{ranks}") for ranks in (1, 2))
    for row, other in zip(one, two, strict=True):
        assert other == {name: pytest.approx(value, rel=1e-3, abs=1e-4) for name, value in row.items()}


@pytest.mark.parametrize("kind", SHARDED)
def test_a_sharded_run_learns_what_one_process_does(scenarios, kind):
    """By the shipped launch config: gathered weights sample; norms, steps and the policy left are whole ones."""
    from safetensors.torch import load_file

    endings = json.loads((scenarios / "endings.json").read_text())
    assert endings[f"{kind} never"] == [0, 0], (scenarios / "log.txt").read_text()[-3000:]
    one, sharded = read_metrics(scenarios / "whole-1"), read_metrics(scenarios / kind)
    for row, other in zip(one, sharded, strict=True):
        assert other == {name: pytest.approx(value, rel=1e-3, abs=1e-4) for name, value in row.items()}
    expected, found = (load_file(scenarios / name / "model.safetensors") for name in ("whole-1", kind))
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", SHARDED)
def test_a_sharded_run_that_was_killed_continues(scenarios, kind):
    endings = json.loads((scenarios / "endings.json").read_text())
    assert endings[f"{kind}-killed score 6"] == [-9, -9] and endings[f"{kind}-killed never"] == [0, 0]
    assert endings[f"{kind}-killed score 6 left"] == ["iteration-000003"], "it began anew, which proves nothing"
    assert read_metrics(scenarios / f"{kind}-killed") == read_metrics(scenarios / kind)
    one, other = (scenarios / name / "model.safetensors" for name in (kind, f"{kind}-killed"))
    assert one.read_bytes() == other.read_bytes()


@needs_deepspeed
def test_zero3_in_bf16_starts_at_the_reference_and_leaves_fp32(scenarios):
    """What zero3.yaml asks of GPUs: weights in bf16 compute, those of the optimiser in fp32 are what is left."""
    from safetensors.torch import load_file

    assert json.loads((scenarios / "endings.json").read_text())["bf16"] == [0, 0]
    one, low = read_metrics(scenarios / "whole-1"), read_metrics(scenarios / "bf16")
    assert [row["kl_k3"] for row in low[1:3]] == [0, 0] and low[4]["kl_k3"] > 1e-4
    for name in ("value_loss", "critic_grad_norm", "entropy"):
        assert low[1][name] == pytest.approx(one[1][name], rel=1e-2)
    assert low[2]["policy_grad_norm"] == pytest.approx(one[2]["policy_grad_norm"], rel=2e-2)
    whole, found = (load_file(scenarios / name / "model.safetensors") for name in ("whole-1", "bf16"))
    assert {weight.dtype for weight in found.values()} == {torch.float32}
    assert any(not torch.equal(weight, weight.bfloat16().float()) for weight in found.values()), "rounded on its way"
    for name in whole:  # four steps of 1e-3, of which a rounded gradient may turn one about
        torch.testing.assert_close(found[name], whole[name], atol=5e-3, rtol=0)


@pytest.mark.parametrize("split", ["2-False", "2-True"])
def test_losses_and_gradients_know_neither_ranks_nor_micro_batches_nor_shards(scenarios, split):
    expected = torch.load(scenarios / "gradients-1-False.pt")
    found = torch.load(scenarios / f"gradients-{split}.pt")
    assert max(value.abs().max() for value in expected.values()) > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-6, rtol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
