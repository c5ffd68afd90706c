"""The YAML file that a step starts with, and the command that starts it, for those who run a step by hand."""

import shlex
from pathlib import Path

import yaml

from chat_model.engines import TENSOR_PARALLEL
from chat_model.rows import write_whole
from recipes.recipe import Recipe
from recipes.step import Step

CONFIGS = "configs"  # folder below the output root: what each step was started with


def config_path(step: Step, root: Path) -> Path:
    """Return where the step's file stands under the output root."""
    return root / CONFIGS / f"{step.name}.yaml"


def write_config(step: Step, root: Path) -> Path:
    """Write the step's arguments and its output folder to its file, whole or not at all; return the path."""
    path = config_path(step, root)
    content = {**step.arguments, "output_dir": str(step.output)}
    with write_whole(path) as beside:
        beside.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def launch_command(step: Step, recipe: Recipe) -> str:
    """Return the shell command that does what the ledger would: a stage's command line with the step's file."""
    launcher = ["python"] if recipe.accelerate is None else ["accelerate", "launch", "--config_file", recipe.accelerate]
    words = [*launcher, "-m", step.module, "--config", config_path(step, recipe.root)]
    variables = [f"{name}={value} " for name, value in tensor_parallel_environment(recipe).items()]
    return "".join(variables) + shlex.join(map(str, words))


def tensor_parallel_environment(recipe: Recipe) -> dict[str, str]:
    """Return the variable that tells a launched stage how many processes hold a model together, where several do."""
    return {TENSOR_PARALLEL: str(recipe.tensor_parallel)} if recipe.tensor_parallel > 1 else {}
