"""The tables of the README, from the records of the stages: Markdown, one after the other, the bars last."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_model.errors import InputError
from chat_model.stage import RUN_FILE, StageRun
from recipes.ghost_attention.bars import Bar, ByTurn, hold_against_bars

TABLES_FILE = "tables.md"
SHOWN_TURNS = ("1", "2", "4", "6", "10", "20", "24", "30")
SCENARIO_TURNS = ("2", "6", "12", "20", "30")
ATTENTION_TURNS = ("1", "6", "12", "20", "30")
GRADES = ("helpfulness", "safety", "unsafe", "false_refusal")
Rows = list[list[str]]


def _folder(text: str) -> Any:
    return field(metadata={"help": f"output folder of {text}"})


@dataclass
class TablesConfig:
    """Which evaluations the tables are of."""

    before: str = _folder("gatt.evaluate, of the model GAtt starts from")
    after: str = _folder("gatt.evaluate, of the model after GAtt")
    every_turn: str = _folder("gatt.evaluate, of the model trained with loss on every reply")
    zero_shot_before: str = _folder("gatt.evaluate on the kind left out, before GAtt")
    zero_shot_after: str = _folder("gatt.evaluate on it, after GAtt without it")
    attention: str = _folder("gatt.attention_map: models 'before' and 'after'")
    evaluation: str = _folder("rlhf.evaluate: checkpoints 'before', 'after' and others")
    output_dir: str = field(default="", metadata={"help": "receives tables.md and run.json"})
    seed: int = field(default=0, metadata={"help": "not used: nothing is drawn"})


def tabulate(run: StageRun, config: TablesConfig) -> None:
    """Write the tables and record the bars. Raises InputError for a folder without the record that is expected."""
    before, after, every = (read_scenarios(folder) for folder in (config.before, config.after, config.every_turn))
    zero_shot = [read_scenarios(folder)["explicit"] for folder in (config.zero_shot_before, config.zero_shot_after)]
    attention = read_metrics(config.attention)
    grades = read_metrics(config.evaluation)["checkpoints"]
    explicit = {"before GAtt": before["explicit"], "after GAtt": after["explicit"]}
    ratio = attention["ratio_to_first"]["after"]["20"]
    bars = hold_against_bars(before["explicit"], after["explicit"], ratio, grades)
    run.record(bars={bar.name: {"asked": bar.asked, "measured": bar.measured, "ok": bar.ok} for bar in bars})
    tables = [
        adherence_table("explicit", {**explicit, "loss on every turn": every["explicit"]}, SHOWN_TURNS),
        adherence_table("scenario", _scenarios(before, after), SCENARIO_TURNS),
        adherence_table("kind left out", dict(zip(explicit, zero_shot, strict=True)), SHOWN_TURNS),
        attention_table(attention["attention"]),
        table(["model", *GRADES], [[name, *(f"{each[key]:.1f}" for key in GRADES)] for name, each in grades.items()]),
        bars_table(bars),
    ]
    (run.folder / TABLES_FILE).write_text("\n".join(tables), encoding="utf-8")


def read_metrics(folder: str) -> dict[str, Any]:
    """Return the metrics that the stage recorded in `folder`. Raises InputError when it holds no record."""
    try:
        return json.loads(Path(folder, RUN_FILE).read_text(encoding="utf-8"))["metrics"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: found no record of a finished stage ({error})") from error


def read_scenarios(folder: str) -> dict[str, ByTurn]:
    """Return adherence by turn of each scenario. Raises InputError for the record of another stage."""
    metrics = read_metrics(folder)
    if "scenarios" not in metrics:
        raise InputError(f"{folder}: is no output of gatt.evaluate; expected one")
    return {name: measured["turns"] for name, measured in metrics["scenarios"].items()}


def _scenarios(before: Mapping[str, ByTurn], after: Mapping[str, ByTurn]) -> dict[str, ByTurn]:
    rows: dict[str, ByTurn] = {}
    for name in before:
        label = "no instruction (acted out)" if name == "no_instruction" else name
        rows |= {
            f"{label}, {when}": told[name] for when, told in (("before", before), ("after", after)) if name in told
        }
    return rows


def adherence_table(heading: str, rows: Mapping[str, ByTurn], turns: Sequence[str]) -> str:
    """Return a table of per cents with their 95 % intervals: a row a model or scenario, a column a turn."""
    shown = [turn for turn in turns if any(turn in by_turn for by_turn in rows.values())]
    count = min(each["count"] for by_turn in rows.values() for each in by_turn.values())
    head = [f"{heading} (n ≥ {count})", *(f"turn {turn}" for turn in shown)]
    return table(head, [[name, *(_share(by_turn.get(turn)) for turn in shown)] for name, by_turn in rows.items()])


def _share(measured: Mapping[str, float] | None) -> str:
    if measured is None:
        return "–"
    share, low, high = (100 * measured[key] for key in ("adherence", "low", "high"))
    return f"{share:.1f} % ({low:.0f} – {high:.0f})"


def attention_table(curves: Mapping[str, ByTurn]) -> str:
    """Return the attention mass on the instruction by turn, a row a model, in per cent with 95 % intervals."""
    rows: Rows = []
    for name, by_turn in curves.items():
        cells = (by_turn[turn] for turn in ATTENTION_TURNS if turn in by_turn)
        rows.append([name, *(f"{100 * c['mass']:.2f} % ({100 * c['low']:.2f} – {100 * c['high']:.2f})" for c in cells)])
    turns = [turn for turn in ATTENTION_TURNS if turn in next(iter(curves.values()))]
    return table(["attention mass", *(f"turn {turn}" for turn in turns)], rows)


def bars_table(bars: Sequence[Bar]) -> str:
    """Return what was promised beside what was measured; a bar that was missed is in bold."""
    rows = [[bar.name, bar.asked, bar.measured if bar.ok else f"**{bar.measured}**"] for bar in bars]
    return table(["bar", "asked", "measured"], rows)


def table(head: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table."""
    lines = [" | ".join(cells) for cells in (head, ["---"] * len(head), *rows)]
    return "".join(f"| {line} |\n" for line in lines)
