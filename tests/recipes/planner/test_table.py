"""The planner's table: what fits and what does not, and times in units that people read."""

import pytest
from typer.testing import CliRunner

from recipes.cli import main
from recipes.planner.devices import GIB, find_device
from recipes.planner.estimate import Estimate
from recipes.planner.table import estimates_table


def columns(estimates):
    table = estimates_table(estimates, find_device("RTX 4090"))
    return [list(column.cells) for column in table.columns]


def test_what_does_not_fit_is_red_and_no_model_has_no_memory():
    estimates = [
        ("import", Estimate(why="runs no model")),
        ("fits", Estimate({"weights": 20 * GIB}, 100.0, "100 rows")),
        ("does not", Estimate({"weights": 24 * GIB})),
        ("unplanned", None),
    ]
    names, memory, times, why = columns(estimates)
    assert names == ["import", "fits", "does not"]
    assert [str(cell) for cell in memory] == ["", "20.0", "24.0"]
    assert [getattr(cell, "style", "") for cell in memory] == ["", "", "red"]
    assert times == ["", "100 s", ""] and str(why[0]) == "runs no model"


TIMES = [(119.4, "119 s"), (120, "2.0 min"), (7199, "120.0 min"), (7200, "2.0 h")]


@pytest.mark.parametrize(("seconds", "shown"), TIMES)
def test_times(seconds, shown):
    assert columns([("step", Estimate({}, seconds))])[2] == [shown]


def test_the_command_plans_for_the_gpu_that_is_asked_about(make_toy):
    toy = make_toy()
    result = CliRunner().invoke(main, ["plan", str(toy.folder), "-o", str(toy.root), "--device", "H100"])
    assert result.exit_code == 0, result.output
    assert "Planned for one H100: arithmetic, not run" in result.output
    result = CliRunner().invoke(main, ["plan", str(toy.folder), "--device", "H300"])
    assert result.exit_code == 2 and "did you mean" in result.stderr
