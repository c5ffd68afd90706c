"""`rounds plan`: what would run and why, the seconds it took before, and commands that do what the ledger would."""

import json
import shlex
import subprocess
import sys

from typer.testing import CliRunner

from recipes.cli import main
from recipes.recipe import read_recipe
from recipes.run_plan import plan_run


def _rounds(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def _commands(result) -> list[str]:
    return [line for line in result.output.splitlines() if line.startswith(("python", "accelerate"))]


def test_nothing_is_run_or_written(make_toy):
    """A plan that made the output folder would make the run it plans the owner of it."""
    toy = make_toy()
    result = _rounds("plan", toy.folder, "-o", toy.root)
    assert result.exit_code == 0, result.output
    assert result.output.count("missing") == 4 and not toy.root.exists() and toy.calls() == []
    assert _commands(result)[0] == f"python -m toy_stage --config {toy.root}/configs/first.yaml"
    assert "4 of 4 steps would run; 0 of them took 0 s" in result.output


def test_an_edit_shows_what_reruns_why_and_how_long_it_took(make_toy):
    toy = make_toy()
    _rounds("run", toy.folder, "-o", toy.root)
    planned = plan_run(read_recipe(toy.folder, toy.root, ["second.rate=2"]))
    assert [(each.state.state, each.why) for each in planned] == [
        ("done", ""),
        ("stale", "argument rate was 0.5, is 2"),
        ("stale", "needs 'second', which has to run"),
        ("done", ""),
    ]
    took = json.loads((toy.root / "second" / "run.json").read_text())["seconds"]
    assert planned[1].seconds == took
    assert len(_commands(_rounds("plan", toy.folder, "-o", toy.root, "--set", "second.rate=2"))) == 2


def test_seconds_of_a_new_run_are_those_of_an_earlier_one_beside_it(make_toy):
    """Only runs of the same recipe count, and of several the newest."""
    toy = make_toy()
    for folder, name, seconds, finished in (("a", "toy", 5, "2026-01-02"), ("b", "toy", 7, "2026-01-01"), *OTHER):
        step = toy.root.parent / folder / "first"
        step.mkdir(parents=True)
        (step / "run.json").write_text(json.dumps({"seconds": seconds, "finished": finished}))
        owner = {"name": name, "folder": "", "settings": []}
        (toy.root.parent / folder / "recipe.json").write_text(json.dumps(owner))
    (toy.root.parent / "d").mkdir()
    (toy.root.parent / "d" / "recipe.json").write_text("[]")  # a neighbour that is no run must not spoil the plan
    (toy.root.parent / "a" / "second").mkdir()
    (toy.root.parent / "a" / "second" / "run.json").write_text('{"seco')
    first, second, *_ = plan_run(read_recipe(toy.folder, toy.root))
    assert (first.seconds, second.seconds) == (5, None)


OTHER = (("c", "another", 9, "2026-01-03"),)


def test_a_stopped_step_is_told_apart_from_one_that_never_ran(make_toy):
    toy = make_toy()
    (toy.root / "second.partial").mkdir(parents=True)
    whys = [each.why for each in plan_run(read_recipe(toy.folder, toy.root))]
    assert whys == ["", "was stopped; a stage that can goes on from what it left", "", ""]


def test_the_commands_work_as_printed_and_the_ledger_takes_their_outcome(make_toy):
    """A command line that is only nearly the ledger's would leave a step that the ledger runs again."""
    toy = make_toy()
    result = _rounds("plan", toy.folder, "-o", toy.root, "--write-configs")
    words = shlex.split(_commands(result)[0])
    subprocess.run([sys.executable, *words[1:]], check=True, capture_output=True, timeout=120)
    states = [each.state.state for each in plan_run(read_recipe(toy.folder, toy.root))]
    assert states == ["done", "missing", "missing", "missing"]


def test_a_recipe_with_a_launch_config_names_it(make_toy):
    toy = make_toy(accelerate="cpu")
    recipe = read_recipe(toy.folder, toy.root)
    command = plan_run(recipe)[0].command
    assert command.startswith(f"accelerate launch --config_file {recipe.accelerate} -m toy_stage --config ")


def test_a_recipe_of_divided_models_tells_the_stage_so(make_toy):
    toy = make_toy(accelerate="multi_gpu", tensor_parallel=4)
    command = plan_run(read_recipe(toy.folder, toy.root))[0].command
    assert command.startswith("ROUNDS_TENSOR_PARALLEL=4 accelerate launch --config_file ")


def test_a_mistake_is_one_line(make_toy):
    result = _rounds("plan", make_toy().folder, "--set", "secnd.rate=1")
    assert result.exit_code == 2 and "did you mean 'second'?" in result.stderr and "Traceback" not in result.output
