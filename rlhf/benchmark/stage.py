"""The stage that runs tasks of lm-eval on a checkpoint, as the paper reports academic benchmarks (Tables 3 and 20).

The harness holds the tasks, their prompts and their metrics; this file only hands it the checkpoint and keeps what it
found in `run.json` and, whole, in `results.json`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chat_model.errors import InputError, suggestion
from chat_model.rows import write_json
from chat_model.stage import StageRun, plain


@dataclass
class BenchmarkConfig:
    """Which checkpoint, on which tasks of lm-eval."""

    model: str = field(metadata={"help": "Chat checkpoint: a folder or hub id."})
    tasks: list[str] = field(metadata={"help": "Names of lm-eval's tasks or groups, such as mmlu gsm8k."})
    output_dir: str = field(metadata={"help": "Folder to write to."})
    include_path: str | None = field(default=None, metadata={"help": "Folder with YAML files of further tasks."})
    num_fewshot: int | None = field(default=None, metadata={"help": "Examples in the prompt. Default: the task's."})
    limit: int | None = field(default=None, metadata={"help": "Only so many questions a task, for a trial."})
    apply_chat_template: bool = field(default=True, metadata={"help": "Ask as a user would, not as plain text."})
    batch_size: str = field(default="auto", metadata={"help": "Questions a forward pass; auto: as many as fit."})
    dtype: str = field(default="auto", metadata={"help": "Precision of the weights."})
    device: str | None = field(default=None, metadata={"help": "cuda, mps or cpu. Default: a GPU where there is one."})
    seed: int = field(default=0, metadata={"help": "Of the few-shot examples and of sampling."})


def benchmark(run: StageRun, config: BenchmarkConfig) -> None:
    """Record each task's metrics with their standard errors and write the harness's own `results.json`.

    Raises:
        InputError: lm-eval is not installed, or knows no task of such a name.
    """
    found = _evaluate(config)
    run.record(tasks={task: dict(_numbers(metrics)) for task, metrics in found["results"].items()})
    run.count(questions={task: numbers["effective"] for task, numbers in found["n-samples"].items()})
    kept = ("results", "configs", "versions", "n-samples", "n-shot", "higher_is_better")
    write_json(run.folder / "results.json", plain({name: found[name] for name in kept}))


def _evaluate(config: BenchmarkConfig) -> dict[str, Any]:
    try:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError('lm-eval is missing; install it with: pip install "rlhf-rounds[benchmark]"') from error
    tasks = TaskManager(include_path=config.include_path)
    _check_names(config.tasks, tasks.all_tasks)
    return simple_evaluate(
        model="hf",
        model_args={"pretrained": config.model, "dtype": config.dtype},
        tasks=config.tasks,
        task_manager=tasks,
        num_fewshot=config.num_fewshot,
        limit=config.limit,
        apply_chat_template=config.apply_chat_template,
        batch_size=config.batch_size,
        device=config.device or _best_device(),
        log_samples=False,
        **dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), config.seed),
    )


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_names(names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"tasks: lm-eval knows no task '{name}'{suggestion(name, known)}")


def _numbers(metrics: Mapping[str, Any]):
    """Yield the metrics by their names without lm-eval's filter, ``acc`` for ``acc,none``."""
    for name, value in metrics.items():
        if isinstance(value, (int, float)):
            yield name.removesuffix(",none"), float(value)
