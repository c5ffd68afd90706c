"""The ledger: what counts as done, what an edit reruns, resuming after a kill, whose folder it is."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from chat_model.errors import InputError
from recipes.chain import steps_of
from recipes.ledger import plan, run, status
from recipes.recipe import read_recipe
from recipes.step import StepFailed


def _run(toy, *settings):
    run(read_recipe(toy.folder, toy.root, settings))
    return toy.calls()


def _states(toy, *settings):
    return {state.step.name: state.state for state in plan(steps_of(read_recipe(toy.folder, toy.root, settings)))}


def test_a_finished_recipe_is_not_run_again(make_toy, capsys):
    toy = make_toy()
    assert set(_states(toy).values()) == {"missing"}
    assert _run(toy) == ["first", "second", "third", "alone"]
    assert (toy.root / "third" / "text.txt").read_text() == "first hello.second hello.third hello."
    assert set(_states(toy).values()) == {"done"}
    assert _run(toy) == []
    assert "[1/4] first · done already" in capsys.readouterr().err


def test_an_edit_reruns_what_hangs_on_it_and_nothing_else(make_toy):
    toy = make_toy()
    _run(toy)
    toy.edit("second.yaml", text="changed.")
    assert _states(toy) == {"first": "done", "second": "stale", "third": "stale", "alone": "done"}
    assert _run(toy) == ["second", "third"]
    assert (toy.root / "third" / "text.txt").read_text() == "first hello.changed.third hello."
    assert _run(toy, "alone.rate=0.75") == ["alone"]
    assert _run(toy) == ["alone"]


def test_reasons_name_the_argument_or_the_step(make_toy):
    toy = make_toy()
    _run(toy)
    states = plan(steps_of(read_recipe(toy.folder, toy.root, ["first.rate=2"])))
    assert [state.why for state in states] == [
        "argument rate was 0.5, is 2",
        "needs 'first', which has to run",
        "needs 'second', which has to run",
        "",
    ]


def test_a_changed_input_file_reruns_its_reader(make_toy, tmp_path):
    rows = tmp_path / "rows.txt"
    rows.write_text("one")
    toy = make_toy()
    setting = f"alone.text={rows}"
    _run(toy, setting)
    rows.write_text("two")
    state = plan(steps_of(read_recipe(toy.folder, toy.root, [setting])))[3]
    assert (state.state, state.why) == ("stale", f"input {rows} changed")
    assert _run(toy, setting) == ["alone"]


def test_an_upstream_run_anew_reruns_its_readers_even_with_equal_arguments(make_toy):
    toy = make_toy()
    _run(toy)
    record = json.loads((toy.root / "first" / "run.json").read_text())
    (toy.root / "first" / "run.json").write_text(json.dumps({**record, "finished": "later"}))
    assert _run(toy) == ["second", "third"]


def test_an_unreadable_record_is_stale_not_a_crash(make_toy):
    toy = make_toy()
    _run(toy)
    (toy.root / "alone" / "run.json").write_text('{"stage": "toy_stage", "argum')
    assert plan(steps_of(read_recipe(toy.folder, toy.root)))[3].why == "its run.json cannot be read"


def test_a_failing_step_is_named_with_its_log_and_the_run_continues_after_the_repair(make_toy):
    toy = make_toy()
    with pytest.raises(StepFailed) as error:
        _run(toy, "second.fail=crash")
    log = toy.root / "logs" / "second.log"
    assert str(error.value) == f"step 'second' failed: ZeroDivisionError: toy broke (log: {log})"
    assert "Traceback" in log.read_text()
    assert "toy prints" in log.read_text()
    assert toy.calls() == ["first", "second"]
    assert _run(toy) == ["second", "third", "alone"]


def test_status_uses_the_settings_of_the_run(make_toy):
    toy = make_toy()
    _run(toy, "word=bye")
    assert {state.state for state in status(toy.root)} == {"done"}
    toy.edit("third.yaml", rate=1.0)
    assert [state.state for state in status(toy.root)] == ["done", "done", "stale", "done"]


def test_another_recipes_folder_is_refused(make_toy):
    toy = make_toy()
    _run(toy)
    toy.edit("recipe.yaml", name="other")
    with pytest.raises(InputError, match="holds a run of recipe 'toy', not 'other'"):
        _run(toy)
    assert toy.calls() == []


def test_a_folder_that_is_no_run_is_left_alone(make_toy):
    toy = make_toy()
    toy.root.mkdir()
    (toy.root / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds no run of a recipe"):
        _run(toy)
    assert [file.name for file in toy.root.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="holds no run of a recipe"):
        status(toy.root)


def test_a_module_that_is_no_stage_is_refused_before_anything_runs(make_toy):
    toy = make_toy()
    steps = [
        {"name": "first", "module": "toy_stage", "config": "first.yaml"},
        {"name": "last", "module": "toy_stagee.x", "config": "first.yaml"},
    ]
    toy.edit("recipe.yaml", steps=steps)
    with pytest.raises(InputError, match="step 'last': module 'toy_stagee.x' is no stage"):
        _run(toy)
    assert toy.calls() == []


def _start(toy, *settings):
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "recipes.cli", "run", str(toy.folder), "--output", str(toy.root), *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def _wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_sigkill_within_a_step_keeps_the_finished_ones_and_frees_the_folder(make_toy):
    toy = make_toy()
    process = _start(toy, "second.sleep=300")
    _wait_for(lambda: toy.calls_file.exists() and "second" in toy.calls_file.read_text())
    with pytest.raises(InputError, match=f"in use by process {process.pid}"):
        _run(toy)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    toy.calls()
    assert not (toy.root / "second").exists()
    assert _states(toy) == {"first": "done", "second": "missing", "third": "missing", "alone": "missing"}
    assert _run(toy) == ["second", "third", "alone"]
    assert (toy.root / "third" / "text.txt").read_text() == "first hello.second hello.third hello."


def test_ctrl_c_stops_cleanly(make_toy):
    toy = make_toy()
    process = _start(toy, "second.sleep=300")
    _wait_for(lambda: toy.calls_file.exists() and "second" in toy.calls_file.read_text())
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed.rstrip().endswith("stopped; the same command continues from here")
    assert "Traceback" not in printed
    toy.calls()
    assert _run(toy) == ["second", "third", "alone"]


def test_what_a_kill_left_half_written_beside_the_steps_is_removed(make_toy):
    toy = make_toy()
    _run(toy)
    half = [toy.root / ".results.json.123.partial", toy.root / "configs" / ".first.yaml.123.partial"]
    for file in half:
        file.write_text("{")
    _run(toy)
    assert not any(file.exists() for file in half)


def test_a_lock_left_by_a_dead_process_does_not_bind(make_toy):
    toy = make_toy()
    toy.root.mkdir()
    (toy.root / ".lock").write_text(str(os.getpid()))
    assert _run(toy) == ["first", "second", "third", "alone"]
