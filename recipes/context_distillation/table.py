"""The table: what distillation did to unsafe answers, false refusals and helpfulness, by what it was targeted at."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_model.errors import InputError
from chat_model.intervals import bootstrap_interval, share
from chat_model.rows import read_rows
from chat_model.stage import RUN_FILE, StageRun

TABLE_FILE = "table.md"
START = "before"
_COLUMNS = ("kept", "unsafe answers", "false refusals", "helpfulness")
Measured = dict[str, dict[str, float]]
"""``{column: {"share", "count", "low", "high"}}``, shares from 0 to 1."""


@dataclass
class TableConfig:
    """The folders of the recipe's steps; those of one trained model stand at the same place of each list."""

    answers: list[str] = field(metadata={"help": "of gatt.context_distillation"})
    safety: list[str] = field(metadata={"help": "of rlhf.safety_evaluation, of the models trained on the answers"})
    helpfulness: list[str] = field(metadata={"help": "of rlhf.evaluate, of the models trained on the answers"})
    safety_before: str = field(metadata={"help": "of rlhf.safety_evaluation, of the model that they started from"})
    helpfulness_before: str = field(metadata={"help": "of rlhf.evaluate, of the model that they started from"})
    output_dir: str = field(default="", metadata={"help": "receives table.md and run.json"})
    seed: int = field(default=0, metadata={"help": "of the bootstrap intervals"})

    def __post_init__(self):
        if not len(self.answers) == len(self.safety) == len(self.helpfulness):
            raise ValueError("answers, safety, helpfulness: expected as many folders of each, in one order")


def tabulate(run: StageRun, config: TableConfig) -> None:
    """Record ``settings``, each with its `Measured` over all seeds, and write them as a Markdown table.

    Raises:
        InputError: a folder without the record of its stage.
    """
    groups: dict[str, list[int]] = {}
    for index, folder in enumerate(config.answers):
        groups.setdefault(_setting(folder), []).append(index)
    before = _evaluated([config.safety_before], [config.helpfulness_before], config.seed)
    settings = {START: before, **{name: _measure(config, places) for name, places in groups.items()}}
    run.count(models=len(config.answers))
    run.record(settings=settings)
    (run.folder / TABLE_FILE).write_text(markdown(settings), encoding="utf-8")


def _measure(config: TableConfig, places: Sequence[int]) -> Measured:
    answers, safety, helpfulness = (
        [folders[place] for place in places] for folders in (config.answers, config.safety, config.helpfulness)
    )
    kept = pooled([_read(folder, lambda metrics: metrics["kept_share"]) for folder in answers])
    return {"kept": kept, **_evaluated(safety, helpfulness, config.seed)}


def _evaluated(safety: Sequence[str], helpfulness: Sequence[str], seed: int) -> Measured:
    rates = [_read(folder, lambda metrics: next(iter(metrics["checkpoints"].values()))) for folder in safety]
    grades = [value for folder in helpfulness for value in _helpfulness(folder)]
    low, high = bootstrap_interval(grades, seed=seed)
    return {
        "unsafe answers": pooled([each["violations"]["all"] for each in rates]),
        "false refusals": pooled([each["false_refusals"]["all"] for each in rates]),
        "helpfulness": {"share": sum(grades) / len(grades), "count": len(grades), "low": low, "high": high},
    }


def pooled(shares: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the share over the trials of all `shares`, with its interval."""
    counts = [each["count"] for each in shares]
    return share(sum(round(each["share"] * each["count"]) for each in shares if each["count"]), sum(counts))


def _helpfulness(folder: str) -> list[float]:
    rows = [row for _, row in read_rows(str(Path(folder, "responses.jsonl")))]
    scores = [next(iter(row["scores"].values())) for row in rows]
    return [each["helpfulness"] for each in scores if "helpfulness" in each]


def _setting(folder: str) -> str:
    arguments = _load(folder)["arguments"]
    prompts = "adversarial prompts" if arguments["safety_prompts_only"] else "all prompts"
    return f"{prompts}, {'where preferred' if arguments['targeted'] else 'every answer'}"


def _read(folder: str, find: Callable[[dict[str, Any]], Any]) -> Any:
    record = _load(folder)
    try:
        return find(record["metrics"])
    except (KeyError, StopIteration) as error:
        raise InputError(f"{folder}: its {RUN_FILE} is not of the expected stage (no {error})") from error


def _load(folder: str) -> dict[str, Any]:
    try:
        return json.loads(Path(folder, RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: found no record of a stage ({error})") from error


def markdown(settings: dict[str, Measured]) -> str:
    """Return the table: a line a setting, per cent with the 95 % interval in each column."""
    lines = [f"| distilled on | {' | '.join(_COLUMNS)} |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for name, measured in settings.items():
        lines.append(f"| {name} | {' | '.join(_cell(measured.get(column)) for column in _COLUMNS)} |")
    return "\n".join(lines) + "\n"


def _cell(found: dict[str, float] | None) -> str:
    if found is None:
        return "–"
    value, low, high = (100 * found[key] for key in ("share", "low", "high"))
    return f"{value:.1f} % ({low:.1f} – {high:.1f})"
