"""Run a chain of steps, and see how far it is."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recipes.commands.app import main, plain_errors

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
def status(root: Annotated[Path, typer.Argument(metavar="DIR", help="The output folder of a run.")]) -> None:
    """Show which steps of a run are done, and why the others would run.

    Example: rounds status runs/quickstart
    """
    from recipes.ledger import status as states_of

    with plain_errors():
        table = Table("step", "state", "seconds", "why")
        colours = {"done": "green", "stale": "yellow", "missing": "dim"}
        for each in states_of(root.resolve()):
            seconds = "" if each.seconds is None else f"{each.seconds:.0f}"
            table.add_row(each.step.name, Text(each.state, colours[each.state]), seconds, Text(each.why))
        Console().print(table)


def _run(name: str, output: Path | None, settings: list[str] | None) -> None:
    from recipes.ledger import run as run_recipe
    from recipes.recipe import read_recipe

    recipe = read_recipe(name, output, settings or [])
    run_recipe(recipe)
    _conclude(recipe.root)


def _conclude(root: Path) -> None:
    """Write `results.json` and the report, and print the one's tables and the other's path."""
    from recipes.report.page import write_report
    from recipes.result_tables import result_tables
    from recipes.results import write_results

    results = json.loads(write_results(root).read_text(encoding="utf-8"))
    console = Console()
    for table in result_tables(results):
        console.print(table)
    print(f"report: {write_report(root)}")
