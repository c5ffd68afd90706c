"""The pictures of the report: numbers in, inline SVG out, in colours that are readable on light and on dark paper.

The kinds of chart are those by which the paper shows its runs (section 3.4.1, Figures 7 and 11, Tables 8 and 30).
Text from the data is escaped by matplotlib's SVG writer and never read as mathematics.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib
from cycler import cycler
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

COLOURS = ("#3d84c6", "#d9822b", "#3a9d6a", "#9a6cc4", "#c9525f", "#7f8790")
INK = "#123456"  # stands for the page's own text colour, which only the browser knows
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "axes.prop_cycle": cycler(color=COLOURS),
}
_SIZE = (5.2, 3.1)  # inches; about the width of a phone, so that letters are not shrunk there
_LONG_LABEL = 20  # characters from which on three names do not fit side by side
_MANY_NAMES = 4  # checkpoints from which on their names need smaller letters

Interval = Mapping[str, float]  # "low" and "high" beside the value they surround


def line_chart(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str, label: str, log_x: bool = False
) -> Markup:
    """Draw one line for each ``name: (x values, y values)``."""

    def draw(axes: Axes) -> None:
        for name, (along, values) in lines.items():
            marker = "o" if len(values) < 20 else None
            axes.plot(along, values, label=name, linewidth=1.6, marker=marker, markersize=3.5)
        if log_x:
            ticks = sorted({value for along, _ in lines.values() for value in along})
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        name_axes(axes, x, y, len(lines))

    return draw_svg(draw, label)


def grouped_bars(groups: Mapping[str, Mapping[str, float]], *, y: str, label: str) -> Markup:
    """Draw ``{group on the x axis: {series: value}}`` as bars side by side; where a series is missing, a gap."""
    series = list(dict.fromkeys(name for values in groups.values() for name in values))
    width = 0.8 / max(len(series), 1)

    def draw(axes: Axes) -> None:
        for index, name in enumerate(series):
            at = [place + (index - (len(series) - 1) / 2) * width for place in range(len(groups))]
            heights = [values.get(name, math.nan) for values in groups.values()]
            bars = axes.bar(at, heights, width * 0.92, label=name)
            axes.bar_label(bars, fmt=lambda value: "" if math.isnan(value) else f"{value:.0f}", fontsize=8, padding=1)
        name_checkpoints(axes, list(groups))
        name_axes(axes, "", y, len(series))

    return draw_svg(draw, label)


def intervals(
    series: Mapping[str, Mapping[str, tuple[float, Interval]]], *, x: str, label: str, chance: float | None = None
) -> Markup:
    """Draw ``{series: {row: (share, {"low", "high"})}}`` as points with their intervals, rows from top to bottom."""
    rows = list(dict.fromkeys(row for values in series.values() for row in values))

    def draw(axes: Axes) -> None:
        if chance is not None:
            axes.axvline(100 * chance, color=COLOURS[-1], linewidth=1, linestyle=":")
        for index, (name, values) in enumerate(series.items()):
            offset = (index - (len(series) - 1) / 2) * 0.22
            at = [rows.index(row) + offset for row in values]
            _points_with_intervals(axes, list(values.values()), at, name)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        name_axes(axes, x, "", len(series), grid="x")

    return draw_svg(draw, label, height=1.2 + 0.45 * len(rows))


def adherence_chart(curves: Mapping[str, Mapping[int, Mapping[str, float]]], *, label: str) -> Markup:
    """Draw ``{model: {turn: {"adherence", "low", "high"}}}`` with the intervals as bands (shares drawn as per cent)."""

    def draw(axes: Axes) -> None:
        for name, by_turn in curves.items():
            turns = sorted(by_turn)
            middle, low, high = (
                [100 * by_turn[turn].get(key, by_turn[turn]["adherence"]) for turn in turns]
                for key in ("adherence", "low", "high")
            )
            axes.plot(turns, middle, label=name, marker="o", markersize=3.5, linewidth=1.6)
            axes.fill_between(turns, low, high, alpha=0.2, linewidth=0)
        axes.set_xticks(sorted({turn for by_turn in curves.values() for turn in by_turn}))
        axes.set_ylim(-4, 104)
        name_axes(axes, "turn of the dialogue", "instruction followed, %", len(curves))

    return draw_svg(draw, label)


def path_chart(x_values: Sequence[float], y_values: Sequence[float], *, x: str, y: str, label: str) -> Markup:
    """Draw a path through ``(x, y)``, pale at its start and full at its end: a quantity against another over time."""

    def draw(axes: Axes) -> None:
        axes.plot(x_values, y_values, color=COLOURS[-1], linewidth=0.8, alpha=0.6)
        shades = [to_rgba(COLOURS[0], 0.25 + 0.75 * (index + 1) / len(x_values)) for index in range(len(x_values))]
        axes.scatter(x_values, y_values, s=16, color=shades, linewidths=0)
        name_axes(axes, x, y, 0)

    return draw_svg(draw, label)


def horizontal_bars(values: Mapping[str, float], *, x: str, label: str) -> Markup:
    """Draw one bar for each ``name: value``, from top to bottom."""

    def draw(axes: Axes) -> None:
        bars = axes.barh(range(len(values)), list(values.values()), color=COLOURS[0], height=0.7)
        axes.bar_label(bars, fmt="{:.0f}", fontsize=8, padding=2)
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.5, -0.5)
        name_axes(axes, x, "", 0, grid="x")

    return draw_svg(draw, label, height=0.8 + 0.22 * len(values))


def _points_with_intervals(axes: Axes, values: list[tuple[float, Interval]], at: list[float], name: str) -> None:
    middle = [100 * value for value, _ in values]
    low = [100 * max(0.0, value - bounds.get("low", value)) for value, bounds in values]
    high = [100 * max(0.0, bounds.get("high", value) - value) for value, bounds in values]
    axes.errorbar(middle, at, xerr=[low, high], fmt="o", markersize=5, capsize=3, linewidth=1.4, label=name)


def name_checkpoints(axes: Axes, names: Sequence[str]) -> None:
    """Put one tick a checkpoint on the x axis, a name such as "RLHF-V3 + GAtt" on two lines."""
    axes.set_xticks(range(len(names)), [name.replace(" + ", "\n+ ") for name in names])
    axes.tick_params(axis="x", labelsize=8 if len(names) > _MANY_NAMES else 10)


def name_axes(axes: Axes, x: str, y: str, num_series: int, grid: Literal["x", "y"] = "y") -> None:
    """Label both axes, put a faint grid along one, and a legend above where there are several series."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis=grid, alpha=0.18, color=INK)
    axes.set_axisbelow(True)
    if num_series > 1:
        longest = max(map(len, axes.get_legend_handles_labels()[1]))
        columns = 3 if longest < _LONG_LABEL else 2
        axes.figure.legend(loc="outside upper left", ncols=columns, borderaxespad=0.2, handlelength=1.4)


def draw_svg(draw: Any, label: str, height: float = _SIZE[1]) -> Markup:
    """Return the chart as an inline ``<svg>`` that fills its column and takes the page's text colour."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": label}):
        figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL).replace(INK, "currentColor")
    view_box = re.findall(r'viewBox="[^"]*"', svg)[0]
    # No ids of matplotlib's but the hashed ones that clips and markers refer to: a page holds many pictures.
    body = re.sub(r' id="[a-zA-Z.]+_\d+"', "", svg[svg.index(">") + 1 :])
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return Markup(f'<svg {namespaces} {view_box} role="img" aria-label="{escape(label)}">{body}')
