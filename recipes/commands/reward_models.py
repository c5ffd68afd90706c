"""Measure a reward model."""

import importlib
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recipes.commands.app import main, plain_errors


@main.command("evaluate-rm")
def evaluate_rm(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Reward model: a folder or hub id.")],
    preferences: Annotated[list[str], typer.Option("--preferences", "-p", help="Held-out pairs; may be repeated.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: runs/MODEL_evaluation.")] = None,
    domain: Annotated[str, typer.Option("--domain", help="helpfulness, safety or all: what the model judges.")] = "all",
    calibrate_on: Annotated[
        str | None,
        typer.Option(help="safety_labels or preferences: fit a calibration on half of the pairs, keep it with MODEL."),
    ] = None,
    test_share: Annotated[
        float | None, typer.Option(help="Only the prompts that training with this test_share (and seed) held out.")
    ] = None,
    score_cache: Annotated[
        Path | None, typer.Option(help="Folder of scores: what it holds of MODEL is not computed again.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
) -> None:
    """Measure a reward model on held-out pairs: accuracy, calibration, length bias, safety thresholds; with plots.

    Example: rounds evaluate-rm runs/quickstart/RLHF-V1/safety_reward_model --preferences test.jsonl --domain safety
    """
    output = output or Path("runs") / f"{Path(model).name}_evaluation"
    options = {"output_dir": output, "domain": domain, "calibrate_on": calibrate_on, "test_share": test_share}
    options |= {"score_cache": score_cache}
    named = [f"--{name}={value}" for name, value in {**options, "seed": seed}.items() if value is not None]
    with plain_errors():
        evaluation = importlib.import_module("reward_model.evaluate.__main__")
        evaluation.main([f"--model={model}", "--preferences", *preferences, *named])
        _show_evaluation(output)


def _show_evaluation(folder: Path) -> None:
    from recipes.result_tables import accuracy_table

    measured = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    Console().print(accuracy_table(measured["by_domain"] or {"all": measured["accuracy"]}))
    print(f"evaluation: {folder}")
