"""What is done with a trained checkpoint: merge its adapter, measure it on public benchmarks, share it."""

import importlib
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from recipes.commands.app import main, plain_errors


@main.command()
def merge(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="A LoRA adapter: a folder or hub id.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write to.")],
    dtype: Annotated[
        str, typer.Option(help="Precision of the stored weights: base (as the base model), float32, bfloat16, float16.")
    ] = "base",
) -> None:
    """Merge a LoRA adapter into its base model: weights, tokenizer and chat template in one folder.

    Example: rounds merge runs/llama2_7b/RLHF-V1/ppo/adapter merged
    """
    with plain_errors():
        stage = importlib.import_module("chat_model.merge.__main__")
        stage.main([f"--adapter={adapter}", f"--output_dir={output}", f"--dtype={dtype}"])
    print(f"merged: {output}")


@main.command()
def benchmark(
    model: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Chat checkpoint: a folder or hub id.")],
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="lm-eval's tasks, with commas between.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: runs/MODEL_benchmark.")] = None,
    include_path: Annotated[str | None, typer.Option(help="Folder with YAML files of further tasks.")] = None,
    num_fewshot: Annotated[int | None, typer.Option(help="Examples in the prompt. Default: the task's.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many questions a task, for a trial.")] = None,
    batch_size: Annotated[str, typer.Option(help="Questions a forward pass; auto: as many as fit.")] = "auto",
    chat_template: Annotated[bool, typer.Option(help="Ask as a user would, or as plain text.")] = True,
) -> None:
    """Measure a checkpoint on public benchmarks, with EleutherAI's lm-eval (extra: benchmark).

    Example: rounds benchmark runs/llama2_7b/RLHF-V5/ppo --tasks mmlu,gsm8k,truthfulqa_mc2
    """
    output = output or Path("runs") / f"{Path(model).name}_benchmark"
    options = {
        "include_path": include_path,
        "num_fewshot": num_fewshot,
        "limit": limit,
        "batch_size": batch_size,
        "apply_chat_template": chat_template,
    }
    named = [f"--{name}={value}" for name, value in options.items() if value is not None]
    with plain_errors():
        stage = importlib.import_module("rlhf.benchmark.__main__")
        stage.main([f"--model={model}", "--tasks", *tasks.split(","), f"--output_dir={output}", *named])
        Console().print(_table(output))
    print(f"benchmark: {output}")


@main.command()
def push(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A folder that a training stage left.")],
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="Where to, such as me/my-chat-model.")],
    public: Annotated[bool, typer.Option("--public", help="Anyone may see it. Default: only you.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the model card and upload nothing.")] = False,
) -> None:
    """Upload a checkpoint to the Hugging Face hub, with a model card: base, data, recipe, evaluation.

    Example: rounds push runs/quickstart/gatt/policy me/quickstart --dry-run
    """
    from recipes.hub.push import card_text
    from recipes.hub.push import push as upload

    with plain_errors():
        print(card_text(checkpoint, repository) if dry_run else upload(checkpoint, repository, private=not public))


def _table(folder: Path) -> Table:
    """Return a row for every metric of every task."""
    table = Table("task", "metric", "value", "standard error")
    for task, metrics in json.loads((folder / "run.json").read_text(encoding="utf-8"))["metrics"]["tasks"].items():
        for name in [name for name in metrics if f"{name}_stderr" in metrics]:
            table.add_row(task, name, f"{metrics[name]:.4f}", f"± {metrics[f'{name}_stderr']:.4f}")
    return table
