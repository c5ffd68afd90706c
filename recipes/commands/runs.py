"""What to do with the output folder of a run: report it again, and clean it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from recipes.commands.app import main, plain_errors
from recipes.conclude import conclude

if TYPE_CHECKING:
    from recipes.leftovers import Leftover

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The output folder of a run.")]


@main.command()
def report(root: Folder) -> None:
    """Write results.json and report.html of a run again, from what its finished steps left, and print the tables.

    Example: rounds report runs/quickstart
    """
    from recipes.ledger import read_owner

    with plain_errors():
        read_owner(root.resolve())
        conclude(root.resolve())


@main.command()
def clean(
    root: Folder,
    steps: Annotated[
        list[str] | None,
        typer.Option("--steps", metavar="NAME", help="Also a finished step, or all of a round. May be repeated."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """List what a run left behind and nothing needs, with sizes, and remove it after a confirmation.

    That is unfinished work (*.partial), what was replaced (*.old), steps that would run again anyway or that the recipe
    no longer has, and the trainers' own checkpoints. A finished step goes only when --steps names it.

    Example: rounds clean runs/quickstart --steps RLHF-V2
    """
    from recipes.ledger import hold, status
    from recipes.leftovers import find_leftovers, remove

    with plain_errors():
        root = root.resolve()
        states = status(root)
        with hold(root):
            found = find_leftovers(root, states, steps or [])
            _show(found, root)
            if found and (yes or typer.confirm("Remove all of these?")):
                remove(found)
                print(f"removed {len(found)}")


def _show(found: "list[Leftover]", root: Path) -> None:
    if not found:
        print(f"{root}: nothing to clean")
        return
    table = Table("leftover", "size", "why")
    table.columns[1].justify = "right"
    for each in found:
        table.add_row(str(each.path.relative_to(root)), _megabytes(each.size), each.why)
    table.add_row("all", _megabytes(sum(each.size for each in found)), "")
    Console().print(table)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
