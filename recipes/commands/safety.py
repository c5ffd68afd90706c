"""Measure the safety of chat models."""

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from recipes.commands.app import main, plain_errors


@main.command("evaluate-safety")
def evaluate_safety(
    checkpoints: Annotated[list[str], typer.Argument(metavar="CHECKPOINT…", help="Chat models: folders or hub ids.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: runs/<last model>_safety_evaluation.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Of each checkpoint, in order. Default: as given.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="JSONL with prompt, category, style, borderline. Default: 60 of our own.")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="Verdicts by this function, package.module.function.")] = None,
    safety_reward_model: Annotated[str | None, typer.Option(help="Verdicts by this safety reward model.")] = None,
    judge_model: Annotated[str | None, typer.Option(help="Verdicts by this model at an OpenAI-like endpoint.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Base URL of that endpoint. Default: OpenAI's.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Bound of a response.")] = 512,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
) -> None:
    """Measure unsafe answers to adversarial prompts and refusals of borderline ones, with intervals and plots.

    Example: rounds evaluate-safety runs/quickstart/RLHF-V2/ppo --rule recipes.quickstart.rules.judge
    --prompts runs/quickstart/world/adversarial_test.jsonl --max-new-tokens 40
    """
    output = output or Path("runs") / f"{Path(checkpoints[-1]).name}_safety_evaluation"
    options: dict[str, Any] = {
        "output_dir": output,
        "prompts": prompts,
        "rule": rule,
        "safety_reward_model": safety_reward_model,
    }
    options |= {"judge_model": judge_model, "judge_url": judge_url, "max_new_tokens": max_new_tokens, "seed": seed}
    named = [f"--{option}={value}" for option, value in options.items() if value is not None]
    lists = ["--checkpoints", *checkpoints, *(["--names", *name] if name else [])]
    with plain_errors():
        importlib.import_module("rlhf.safety_evaluation.__main__").main([*named, *lists])
        _show_rates(output)


def _show_rates(folder: Path) -> None:
    from recipes.result_tables import safety_table

    measured = json.loads((folder / "safety.json").read_text(encoding="utf-8"))
    Console().print(safety_table(measured["checkpoints"]))
    print(f"evaluation: {folder}")
