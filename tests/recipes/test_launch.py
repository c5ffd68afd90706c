"""Starting a step: in this process and through `accelerate launch`, logs, errors, and what one leaves to the next."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from chat_model.errors import InputError
from recipes.chain import steps_of
from recipes.launch import launch
from recipes.progress import Progress, StageOutput
from recipes.recipe import read_recipe
from recipes.step import Step, StepFailed


@pytest.fixture
def launch_first(make_toy, tmp_path):
    """Return a function that launches the toy's first step alone, and the toy."""
    toy = make_toy()

    def start(*settings):
        recipe = read_recipe(toy.folder, toy.root, settings)
        lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
        try:
            launch(steps_of(recipe)[0], recipe, StageOutput(), lock)
        finally:
            os.close(lock)

    return start, toy


def test_the_resolved_config_is_left_beside_the_run(launch_first):
    start, toy = launch_first
    start("first.rate=1.0e-5")
    config = yaml.safe_load((toy.root / "configs" / "first.yaml").read_text())
    assert config.pop("output_dir") == str(toy.root / "first")
    assert config == {"seed": 0, "text": "first hello.", "rate": 1e-5, "fail": "", "sleep": 0.0}


def test_a_users_mistake_passes_with_the_steps_name(launch_first, capfd):
    start, _ = launch_first
    with pytest.raises(InputError) as error:
        start("first.fail=input")
    assert str(error.value) == "step 'first': rows.jsonl:3: field 'x': found 1; expected 2"
    assert capfd.readouterr() == ("", "")


def test_an_unknown_field_of_a_stage_is_refused_with_a_suggestion(launch_first):
    start, toy = launch_first
    toy.edit("first.yaml", slep=1)
    with pytest.raises(InputError, match=r"step 'first': .*first.yaml: unknown key 'slep' \(did you mean 'sleep'\?\)"):
        start()


def test_a_stage_that_exits_has_failed(launch_first):
    start, _ = launch_first
    with pytest.raises(StepFailed, match="step 'first' failed: SystemExit: 7"):
        start("first.fail=exit")


def test_nothing_of_accelerate_is_left_to_the_next_stage(launch_first, monkeypatch):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    start, _ = launch_first
    monkeypatch.setenv("ACCELERATE_KEPT", "1")
    Accelerator(cpu=True, gradient_accumulation_steps=3)
    import toy_stage.__main__ as stage

    def main(argv):
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
        os.environ["ACCELERATE_KEPT"] = "2"

    monkeypatch.setattr(stage, "main", main)
    start()
    assert (AcceleratorState._shared_state, PartialState._shared_state, GradientState._shared_state) == ({}, {}, {})
    assert "ACCELERATE_MIXED_PRECISION" not in os.environ
    assert os.environ["ACCELERATE_KEPT"] == "1"


def test_a_cluster_may_name_the_command_that_starts_a_stage(launch_first, monkeypatch, tmp_path):
    """What `recipes/accelerate/slurm.sh` relies on: the same words as for Accelerate, behind another command."""
    launcher = tmp_path / "on every machine"
    launcher.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.words"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("ROUNDS_LAUNCHER", f"'{launcher}' --num_machines 3")
    start, toy = launch_first
    start("accelerate=cpu")
    words = Path(f"{launcher}.words").read_text().splitlines()
    assert words[:3] == ["--num_machines", "3", "--config_file"] and Path(words[3]).name == "cpu.yaml"
    assert words[4:] == ["-m", "toy_stage", "--config", str(toy.root / "configs" / "first.yaml")]


def test_a_launched_stage_is_told_how_many_processes_hold_a_model(launch_first, monkeypatch, tmp_path):
    launcher = tmp_path / "tell"
    launcher.write_text('#!/bin/sh\necho "$ROUNDS_TENSOR_PARALLEL" > "$0.told"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("ROUNDS_LAUNCHER", str(launcher))
    start, _ = launch_first
    start("accelerate=multi_gpu", "tensor_parallel=4")
    assert Path(f"{launcher}.told").read_text() == "4\n"


def test_accelerate_launch_runs_the_stage_in_a_process_of_its_own(launch_first, monkeypatch):
    start, toy = launch_first
    # This process would fail; the launched one has a stage of its own.
    import toy_stage.__main__ as stage

    monkeypatch.setattr(stage, "main", None)
    start("accelerate=cpu")
    assert (toy.root / "first" / "text.txt").read_text() == "first hello."
    assert "toy prints" in (toy.root / "logs" / "first.log").read_text()


def test_a_users_mistake_in_a_launched_stage_is_the_same_line(launch_first):
    start, _ = launch_first
    with pytest.raises(InputError) as error:
        start("accelerate=cpu", "first.fail=input")
    assert str(error.value) == "step 'first': rows.jsonl:3: field 'x': found 1; expected 2"


def test_a_launched_stages_error_ends_with_the_tail_of_its_log(launch_first):
    start, toy = launch_first
    with pytest.raises(StepFailed) as error:
        start("accelerate=cpu", "first.fail=crash")
    first_line, *tail = str(error.value).splitlines()
    assert first_line.startswith("step 'first' failed: ZeroDivisionError: toy broke")
    assert first_line.endswith(f"(log: {toy.root / 'logs' / 'first.log'})")
    assert "ZeroDivisionError: toy broke" in tail


def test_ctrl_c_ends_the_launched_processes_too(make_toy):
    toy = make_toy(accelerate="cpu")
    toy.edit("first.yaml", sleep=300.0)
    command = [sys.executable, "-m", "recipes.cli", "run", str(toy.folder), "--output", str(toy.root)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while not toy.calls_file.exists():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    config = str(toy.root / "configs" / "first.yaml")
    assert not [pid for pid in _command_lines() if config in _command_lines()[pid]]


def _command_lines() -> dict[str, str]:
    lines = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines[file.parent.name] = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return lines


def test_output_keeps_the_last_state_of_a_bar_and_shows_the_current_one(tmp_path):
    output = StageOutput()
    with output.to(tmp_path / "logs" / "x.log"):
        output.write("loading\n")
        output.write("\r 10%|#   | 1/10")
        output.write("\r 20%|##  | 2/10")
        assert output.bar == "20%|##  | 2/10"
        output.write("\r100%|####| 10/10\ndone")
        assert output.bar == ""
    lines = (tmp_path / "logs" / "x.log").read_text().splitlines()
    assert lines[1:] == ["loading", "100%|####| 10/10", "done"]


def test_tqdm_draws_into_the_status_line(tmp_path):
    import tqdm

    output = StageOutput()
    with output.to(tmp_path / "x.log"):
        bars = []
        for _ in tqdm.tqdm(range(3), file=output, desc="sampling", mininterval=0):
            bars.append(output.bar)
    assert "sampling" in bars[2]
    assert "2/3" in bars[2]
    assert (tmp_path / "x.log").read_text().count("sampling") == 1


def test_output_outside_of_a_step_is_dropped_and_loggers_may_keep_it(tmp_path):
    output = StageOutput()
    output.write("nowhere\n")
    for name in ("a", "b"):
        with output.to(tmp_path / name):
            output.write(f"{name}\n")
    assert (tmp_path / "a").read_text().splitlines()[1:] == ["a"]
    assert (tmp_path / "b").read_text().splitlines()[1:] == ["b"]


def test_a_terminal_shows_which_step_of_how_many_and_its_bar(tmp_path):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    step = Step("RLHF-V1/ppo", "rlhf.ppo", {}, tmp_path, "RLHF-V1 / ppo")
    with Progress(18, console) as progress:
        progress.skip(step)
        with progress.running(step, "argument seed was 0, is 1") as output, output.to(tmp_path / "x.log"):
            output.write("\r 20%|##  | 2/10")
            time.sleep(0.6)
    shown = screen.getvalue()
    assert "[ 1/18] RLHF-V1 / ppo · done already" in shown
    assert "[ 2/18] RLHF-V1 / ppo · again: argument seed was 0, is 1" in shown
    assert "[ 2/18] RLHF-V1 / ppo · 00:00 (total 00:00) · 20%|##  | 2/10" in shown


def test_a_step_is_data(launch_first):
    _, toy = launch_first
    step = steps_of(read_recipe(toy.folder, toy.root))[0]
    with pytest.raises(AttributeError):
        step.name = "other"
    assert replace(step, name="other").name == "other"
