"""`rounds report` and `rounds clean`: what is written again, and what may go from a run's folder and what never."""

import fcntl
import json
import os

import pytest
from typer.testing import CliRunner

from recipes.cli import main


def _rounds(*words, **more):
    return CliRunner().invoke(main, [str(word) for word in words], **more)


@pytest.fixture
def toy(make_toy):
    """A finished run of the toy recipe."""
    toy = make_toy()
    assert _rounds("run", toy.folder, "-o", toy.root).exit_code == 0
    return toy


def fill(path, size=1000):
    path.mkdir(parents=True)
    (path / "weights.bin").write_bytes(b"x" * size)


def test_report_writes_again_what_the_finished_steps_say(toy):
    (toy.root / "results.json").unlink()
    (toy.root / "report.html").write_text("old")
    result = _rounds("report", toy.root)
    assert result.exit_code == 0, result.output
    assert f"report: {toy.root / 'report.html'}" in result.output
    assert set(json.loads((toy.root / "results.json").read_text())["seconds"]) >= {"total", "first", "alone"}
    assert "<h1>toy</h1>" in (toy.root / "report.html").read_text()
    assert toy.calls() == ["first", "second", "third", "alone"], "no step ran again"


def test_report_and_clean_of_a_folder_that_is_no_run_touch_nothing(tmp_path):
    (tmp_path / "thesis.partial").write_text("mine")
    for command in ("report", "clean"):
        result = _rounds(command, tmp_path, *(["--yes"] if command == "clean" else []))
        assert result.exit_code == 2 and "holds no run of a recipe" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.partial"]


def test_a_finished_run_has_nothing_to_clean(toy):
    before = sorted(toy.root.rglob("*"))
    assert "nothing to clean" in _rounds("clean", toy.root, "--yes").output
    assert sorted(toy.root.rglob("*")) == before


def test_leftovers_are_listed_with_sizes_and_go_after_a_yes(toy):
    fill(toy.root / "second.partial", 2_000_000)
    fill(toy.root / "third.old")
    fill(toy.root / "first" / "checkpoint-20", 3_000_000)
    (toy.root / ".results.json.77.partial").write_text("half")
    listed = _rounds("clean", toy.root, input="n\n").output
    for name, size in (("second.partial", "2.0 MB"), ("third.old", "0.0 MB"), ("first/checkpoint-20", "3.0 MB")):
        assert any(name in line and size in line for line in listed.splitlines()), listed
    assert (toy.root / "second.partial").exists(), "a no removes nothing"
    assert "removed 4" in _rounds("clean", toy.root, input="y\n").output
    gone = ("second.partial", "third.old", "first/checkpoint-20", ".results.json.77.partial")
    assert not any((toy.root / name).exists() for name in gone)
    assert {name: (toy.root / name / "run.json").exists() for name in ("first", "second", "third", "alone")} == {
        name: True for name in ("first", "second", "third", "alone")
    }


def test_stale_steps_and_those_the_recipe_lost_go_finished_ones_stay(toy):
    fill(toy.root / "forgotten")
    (toy.root / "forgotten" / "run.json").write_text("{}")
    toy.edit("second.yaml", rate=0.75)
    output = _rounds("clean", toy.root, "--yes").output
    assert "argument rate was 0.5" in output and "no step of the recipe" in output
    assert not any((toy.root / name).exists() for name in ("forgotten", "second", "third"))
    assert (toy.root / "first").exists() and (toy.root / "alone").exists()


def test_a_finished_step_goes_only_when_it_is_named(toy):
    output = _rounds("clean", toy.root, "--yes", "--steps", "alone").output
    assert "finished, asked for" in output
    assert not (toy.root / "alone").exists() and (toy.root / "third").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("alon", "did you mean 'alone'?"), ("sec", "is no step of this run"), ("alone", "not finished")],
)
def test_a_wrong_name_removes_nothing(toy, name, message):
    """ "sec" must not stand for "second": only whole names, and whole rounds, are taken."""
    fill(toy.root / "second.partial")
    if name == "alone":
        _rounds("clean", toy.root, "--yes", "--steps", "alone")
        fill(toy.root / "second.partial")
    result = _rounds("clean", toy.root, "--yes", "--steps", name)
    assert result.exit_code == 2 and message in result.stderr
    assert (toy.root / "second.partial").exists()


def test_a_run_in_progress_is_left_alone(toy):
    fill(toy.root / "second.partial")
    descriptor = os.open(toy.root / ".lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    result = _rounds("clean", toy.root, "--yes")
    os.close(descriptor)
    assert result.exit_code == 2 and "in use by" in result.stderr
    assert (toy.root / "second.partial").exists()


def test_a_removal_cut_short_leaves_no_step_that_looks_whole(toy, monkeypatch):
    """`rmtree` takes files in any order; the record could be the last to go."""

    def fail(path, **options):
        if "alone" in str(path) and not options:
            raise OSError("killed")

    monkeypatch.setattr("recipes.leftovers.shutil.rmtree", fail)
    _rounds("clean", toy.root, "--yes", "--steps", "alone")
    assert not (toy.root / "alone").exists() and (toy.root / "alone.old").exists()
