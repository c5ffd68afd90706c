"""Runs that are killed outright, on one process and two, and gradients that know neither ranks nor shards."""

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
    environment |= fsdp2_environment()
    command = [sys.executable, str(Path(__file__).with_name("ppo_processes.py")), str(folder)]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    (folder / "log.txt").write_text(ran.stderr)
    return folder


def fsdp2_environment() -> dict[str, str]:
    """What `accelerate launch --config_file recipes/accelerate/fsdp2.yaml` tells its processes of FSDP."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    file = ROOT / "recipes" / "accelerate" / "fsdp2.yaml"
    arguments = launch_command_parser().parse_args(["--config_file", str(file), "script.py"])
    environment = prepare_multi_gpu_env(_validate_launch_command(arguments)[0])
    return {name: value for name, value in environment.items() if name.startswith("FSDP_")}


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


def test_a_sharded_run_learns_what_one_process_does(scenarios):
    """By the shipped fsdp2.yaml: gathered weights sample; norms, steps and the policy that is left are whole ones."""
    from safetensors.torch import load_file

    endings = json.loads((scenarios / "endings.json").read_text())
    assert endings["sharded never"] == [0, 0], (scenarios / "log.txt").read_text()[-3000:]
    one, sharded = read_metrics(scenarios / "whole-1"), read_metrics(scenarios / "sharded")
    for row, other in zip(one, sharded, strict=True):
        assert other == {name: pytest.approx(value, rel=1e-3, abs=1e-4) for name, value in row.items()}
    expected, found = (load_file(scenarios / name / "model.safetensors") for name in ("whole-1", "sharded"))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=0)


def test_a_sharded_run_that_was_killed_continues(scenarios):
    endings = json.loads((scenarios / "endings.json").read_text())
    assert endings["sharded-killed score 6"] == [-9, -9] and endings["sharded-killed never"] == [0, 0]
    assert endings["sharded-killed score 6 left"] == ["iteration-000003"], "it began anew, which proves nothing"
    assert read_metrics(scenarios / "sharded-killed") == read_metrics(scenarios / "sharded")
    one, other = (scenarios / name / "model.safetensors" for name in ("sharded", "sharded-killed"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("split", ["2-False", "2-True"])
def test_losses_and_gradients_know_neither_ranks_nor_micro_batches_nor_shards(scenarios, split):
    expected = torch.load(scenarios / "gradients-1-False.pt")
    found = torch.load(scenarios / f"gradients-{split}.pt")
    assert max(value.abs().max() for value in expected.values()) > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-6, rtol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
