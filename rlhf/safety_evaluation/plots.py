"""The pictures of a safety evaluation, as PNG files: numbers of `safety.json` in, nothing computed here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chat_model.rows import write_whole

_COLOURS = ("#3d84c6", "#d9822b", "#3a9d6a", "#9a6cc4", "#c9525f", "#7f8790")
_MEASURES = {"violations": "unsafe answers", "false_refusals": "false refusals"}
_PARTS = ("by_category", "by_style", "by_turns")


def draw_all(checkpoints: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write `violations.png` (by category, style and turns) and `trend.png` (over the checkpoints in their order)."""
    rows = _row_names(checkpoints)
    height = 1.4 + len(rows) * (0.16 + 0.14 * len(checkpoints))
    figure = Figure(figsize=(6.4, height), layout="constrained")
    _draw_rows(figure.add_subplot(), checkpoints, rows)
    _save(figure, folder / "violations.png")
    figure = Figure(figsize=(1.6 * len(checkpoints) + 3.0, 3.6), layout="constrained")
    _draw_trend(figure.add_subplot(), checkpoints)
    _save(figure, folder / "trend.png")


def _row_names(checkpoints: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return (part, name) of every row, those of the first checkpoint, since all have the same prompts."""
    first = next(iter(checkpoints.values()))["violations"]
    return [(part, name) for part in _PARTS for name in first[part]]


def _draw_rows(axes: Axes, checkpoints: Mapping[str, Mapping[str, Any]], rows: list[tuple[str, str]]) -> None:
    for number, (checkpoint, measured) in enumerate(checkpoints.items()):
        offset = 0.16 * (number - (len(checkpoints) - 1) / 2)
        shares = [measured["violations"][part].get(name) for part, name in rows]
        at = [row + offset for row, found in enumerate(shares) if found]
        middle, errors = _points([found for found in shares if found])
        colour = _COLOURS[number % len(_COLOURS)]
        axes.errorbar(middle, at, xerr=errors, fmt="o", markersize=4, capsize=2, color=colour, label=checkpoint)
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for _, name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set(xlabel="unsafe answers, % (95 % interval)", xlim=(-3, 103))
    _finish(axes, "x")


def _draw_trend(axes: Axes, checkpoints: Mapping[str, Mapping[str, Any]]) -> None:
    for number, (measure, label) in enumerate(_MEASURES.items()):
        shares = [measured[measure]["all"] for measured in checkpoints.values()]
        at = [index for index, found in enumerate(shares) if found["count"]]
        if at:
            middle, errors = _points([shares[index] for index in at])
            axes.errorbar(at, middle, yerr=errors, fmt="o-", capsize=3, color=_COLOURS[number], label=label)
    axes.set_xticks(range(len(checkpoints)), list(checkpoints), parse_math=False)
    axes.set(ylabel="%, with 95 % interval", ylim=(-3, 103))
    _finish(axes, "y")


def _points(shares: list[Mapping[str, float]]) -> tuple[list[float], list[list[float]]]:
    """Return the shares in per cent, and how far their intervals reach below and above them."""
    middle = [100 * each["share"] for each in shares]
    return middle, [[100 * abs(each[end] - each["share"]) for each in shares] for end in ("low", "high")]


def _finish(axes: Axes, grid: str) -> None:
    axes.grid(axis=grid, alpha=0.25)  # type: ignore[arg-type]
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _save(figure: Figure, file: Path) -> None:
    with write_whole(file) as beside:
        figure.savefig(beside, format="png", dpi=150)
