"""Run a chain of steps, and see how far it is."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recipes.commands.app import main, plain_errors
from recipes.conclude import conclude

if TYPE_CHECKING:
    from recipes.ledger import StepState
    from recipes.run_plan import PlannedStep

QUICKSTART = "quickstart"

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a variable of the recipe (data=rows.jsonl) or a field of a stage's YAML "
        "(ppo.learning_rate=1e-5). May be given several times.",
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder to write to. Default: runs/NAME, the recipe's.")
]


@main.command()
def quickstart(output: Output = None, settings: Settings = None) -> None:
    """Run the whole recipe on a small world: about ten minutes on two CPU cores.

    Example: rounds quickstart --output runs/first
    """
    with plain_errors():
        _run(QUICKSTART, output, settings)


@main.command()
def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE_FOLDER", help="A recipe folder, or a packaged one's name.")],
    output: Output = None,
    settings: Settings = None,
) -> None:
    """Run a recipe. The same command continues a run that was stopped, and reruns what a changed YAML touches.

    Example: rounds run recipes/hh_rlhf --set data=harmless.jsonl.gz --set model=Qwen/Qwen3-0.6B
    """
    with plain_errors():
        _run(recipe, output, settings)


@main.command()
def plan(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE_FOLDER", help="A recipe folder, or a packaged one's name.")],
    output: Output = None,
    settings: Settings = None,
    write_configs: Annotated[
        bool, typer.Option("--write-configs", help="Also write the YAML files that the commands name.")
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="A GPU such as H100: also plan memory and time of each step on it.")
    ] = None,
) -> None:
    """Show the steps of a recipe in order: what is done, what would run and why, how long it took, how to launch it.

    Seconds are those of the last finished run of the step, here or in another run of the recipe beside. Nothing runs.

    Example: rounds plan llama2_7b --device H100
    """
    from recipes import run_plan
    from recipes.planner.devices import find_device
    from recipes.planner.table import estimates_table
    from recipes.recipe import read_recipe

    with plain_errors():
        read = read_recipe(recipe, output, settings or [])
        on = find_device(device) if device else None
        planned = run_plan.plan_run(read, on)
        _print_states((each.state, each.seconds, each.why) for each in planned)
        if on:
            Console().print(estimates_table([(each.state.step.name, each.estimate) for each in planned], on))
        if write_configs:
            run_plan.write_configs(planned, read)
        _print_commands(planned)


@main.command()
def status(root: Annotated[Path, typer.Argument(metavar="DIR", help="The output folder of a run.")]) -> None:
    """Show which steps of a run are done and what they noted, and why the others would run.

    Example: rounds status runs/quickstart
    """
    from recipes.ledger import status as states_of

    with plain_errors():
        states = states_of(root.resolve())
        _print_states((each, each.seconds, each.why or "; ".join(each.notes)) for each in states)


def _print_states(rows: Iterable[tuple["StepState", float | None, str]]) -> None:
    table = Table("step", "state", "seconds", "why, or what it noted")
    colours = {"done": "green", "stale": "yellow", "missing": "dim"}
    for each, seconds, why in rows:
        shown = "" if seconds is None else f"{seconds:.0f}"
        table.add_row(each.step.name, Text(each.state, colours[each.state]), shown, Text(why))
    Console().print(table)


def _print_commands(planned: Sequence["PlannedStep"]) -> None:
    """Print the commands of the steps to run, a line each, and what is known of the time they take."""
    to_run = [each for each in planned if each.has_to_run]
    console = Console(soft_wrap=True, highlight=False)
    for each in to_run:
        console.print(each.command, markup=False)
    known = [each.seconds for each in to_run if each.seconds is not None]
    took = f"{len(known)} of them took {sum(known):.0f} s when they last did"
    console.print(f"{len(to_run)} of {len(planned)} steps would run; {took}")


def _run(name: str, output: Path | None, settings: list[str] | None) -> None:
    from recipes.ledger import run as run_recipe
    from recipes.recipe import read_recipe

    recipe = read_recipe(name, output, settings or [])
    run_recipe(recipe)
    conclude(recipe.root)
