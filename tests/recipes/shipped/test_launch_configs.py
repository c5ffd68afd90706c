"""The launch configs: Accelerate reads them, every stage runs under those for a CPU, launchers find each other."""

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recipes.chain import steps_of
from recipes.recipe import PACKAGED, read_recipe

FOLDER = PACKAGED / "accelerate"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
ROUND = {"name": "RLHF-V1", "stages": ["preferences", "reward_models", "rejection_sampling", "ppo"]}


def environment() -> dict[str, str]:
    """Two processes on two cores: threads that spin while they wait would take the other's."""
    return {**os.environ, "PYTHONPATH": str(PACKAGED.parent), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_accelerate_reads_every_config(file):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(file))
    assert config.num_processes >= config.num_machines >= 1
    assert f"`{file.stem}`" in (FOLDER / "README.md").read_text()


@pytest.fixture
def one_round(tiny_llama2, hub, tmp_path, write_smaller):
    """The steps of llama2_7b with a single round of all stages, as a file for `stages_in_turn.py`."""
    (tmp_path / "recipe").mkdir()
    preferences = yaml.safe_load((PACKAGED / "llama2_7b" / "recipe.yaml").read_text())["rounds"][0]["preferences"]
    recipe = {"name": "one_round", "extends": "llama2_7b", "rounds": [{**ROUND, "preferences": preferences}]}
    (tmp_path / "recipe" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    settings = ["accelerate=null", f"model={tiny_llama2}", *hub]
    steps = steps_of(read_recipe(tmp_path / "recipe", tmp_path / "out", settings))
    listed = [(step.module, str(write_smaller(step, tmp_path / "configs"))) for step in steps]
    (tmp_path / "steps.json").write_text(json.dumps(listed))
    return tmp_path / "steps.json"


@pytest.mark.slow
@pytest.mark.parametrize(("config", "processes"), [("cpu", 1), ("cpu_2_processes", 2)])
def test_every_stage_runs_under(config, processes, one_round):
    driver = Path(__file__).with_name("stages_in_turn.py")
    command = [*LAUNCH, "--config_file", str(FOLDER / f"{config}.yaml"), str(driver), str(one_round)]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    worlds = json.loads(one_round.with_name("worlds.json").read_text())
    assert set(worlds.values()) == {processes}
    assert len(worlds) == len(json.loads(one_round.read_text()))
    assert (one_round.parent / "out" / "evaluation" / "run.json").exists()


@pytest.mark.slow
def test_two_launchers_find_each_other_by_the_rendezvous(tmp_path):
    """As on two machines: one launcher each, the same address, ranks given out by c10d."""
    script = tmp_path / "world.py"
    script.write_text("import os\nprint('world', os.environ['WORLD_SIZE'], 'rank', os.environ['RANK'])\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--num_machines",
        "2",
        "--num_processes",
        "2",
        "--rdzv_backend",
        "c10d",
        "--main_process_ip",
        "127.0.0.1",
    ]
    # On one machine the second launcher would find the first one's port taken, were its rank 0 as well.
    options += ["--main_process_port", str(port), "--machine_rank", "1"]
    command = [*LAUNCH, "--config_file", str(FOLDER / "multi_node.yaml"), *options, str(script)]
    both = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    try:
        printed = [each.communicate(timeout=120)[0] for each in both]
    finally:
        for each in both:
            each.kill()
    said = {line for text in printed for line in text.splitlines() if line.startswith("world")}
    assert said == {"world 2 rank 0", "world 2 rank 1"}, printed


def test_slurm_script_starts_every_stage_on_all_machines_of_the_allocation(tmp_path):
    """`scontrol` and `rounds` are scripts here: one names the machines, the other shows what it was started with."""
    (tmp_path / "scontrol").write_text("#!/bin/sh\nprintf 'node7\\nnode8\\nnode9\\n'\n")
    (tmp_path / "rounds").write_text('#!/bin/sh\necho "$ROUNDS_LAUNCHER"\necho "$@"\n')
    for name in ("scontrol", "rounds"):
        (tmp_path / name).chmod(0o755)
    allocation = {"SLURM_JOB_NODELIST": "node[7-9]", "SLURM_JOB_NUM_NODES": "3", "SLURM_GPUS_ON_NODE": "4"}
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "1234567", **allocation}
    command = [str(FOLDER / "slurm.sh"), "llama2_70b", "--output", "/shared/run"]
    launcher, arguments = subprocess.run(
        command, env=env, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert arguments == "run llama2_70b --output /shared/run"
    words = shlex.split(launcher)
    given = dict(zip(words, words[1:], strict=False))
    assert words[0] == "srun" and "--nodes=3" in words and "--ntasks-per-node=1" in words
    assert (given["--num_machines"], given["--num_processes"], given["--main_process_ip"]) == ("3", "12", "node7")
    assert given["--rdzv_backend"] == "c10d" and 20000 <= int(given["--main_process_port"]) < 40000

    from accelerate.commands.launch import launch_command_parser

    rest = words[words.index("launch") + 1 :]
    parsed = launch_command_parser().parse_args([*rest, "--config_file", "x.yaml", "-m", "sft", "--config", "y.yaml"])
    assert parsed.module and parsed.training_script == "sft" and parsed.num_machines == 3
