"""Examine a recipe before it runs."""

from typing import Annotated

import typer
from rich.console import Console

from chat_model.check_up import Finding
from recipes.commands.app import EXIT_FAILED, main, plain_errors
from recipes.commands.chain import Output, Settings


@main.command()
def doctor(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe folder, or a packaged one's name.")],
    output: Output = None,
    settings: Settings = None,
    device: Annotated[
        str | None, typer.Option("--device", help="The GPU it will run on, as in H100. Default: what this machine has.")
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", help="Rows of every stage to show, with the trained tokens green.")
    ] = 1,
) -> None:
    """Find what is wrong with a recipe in seconds, before a GPU hour is spent: data, templates, masks, models, room.

    Steps whose input does not exist yet are checked as far as the chain's base model, tokenizer and files allow, and
    what has to wait is named. Exit code 1 where something was found.

    Example: rounds doctor recipes/hh_rlhf --set model=Qwen/Qwen3-0.6B --device "RTX 4090"
    """
    with plain_errors():
        num_findings = _examine(recipe, output, settings or [], device, rows)
    if num_findings:
        raise typer.Exit(EXIT_FAILED)


def _examine(recipe: str, output, settings: list[str], device: str | None, rows: int) -> int:
    from transformers.utils.logging import disable_progress_bar

    from recipes.doctor.examine import examine
    from recipes.doctor.report import print_findings, print_step
    from recipes.recipe import read_recipe

    disable_progress_bar()
    console, num_passed = Console(), 0
    found: dict[Finding, str] = {}
    for name, check_up in examine(read_recipe(recipe, output, settings), _device(device), rows):
        print_step(console, name, check_up)
        num_passed += len(check_up.passed)
        for finding in check_up.findings:  # the first step that has it
            found.setdefault(finding, name)
    print_findings(console, [(name, finding) for finding, name in found.items()], num_passed)
    return len(found)


def _device(name: str | None):
    from chat_model.processes import this_device
    from recipes.planner.devices import Device, find_device

    return find_device(name) if name else Device(*this_device())
