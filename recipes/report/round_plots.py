"""The pictures of a run's rounds: a plane of two win rates, distributions above each other, lines by round, a table.

They are the kinds by which the paper shows its rounds (Figures 11 and 20). `plots` has what all pictures share.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from recipes.report.plots import COLOURS, INK, Interval, draw_svg, name_axes, name_checkpoints

_ROW_HEIGHT = 0.42  # inches
_HEIGHT = 0.9  # of a distribution, in rows
_GRID_POINTS = 160


def plane(
    points: Mapping[str, tuple[tuple[float, Interval], tuple[float, Interval]]], *, x: str, y: str, label: str
) -> Markup:
    """Draw ``{checkpoint: ((share, interval), (share, interval))}`` as a path through the plane of two shares, in %.

    The dotted lines are a draw with the opponent.
    """

    def draw(axes: Axes) -> None:
        _dotted(axes)
        middles = [(100 * across[0], 100 * along[0]) for across, along in points.values()]
        for start, end in pairwise(middles):
            axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": COLOURS[-1], "alpha": 0.7})
        for index, (name, (across, along)) in enumerate(points.items()):
            colour = COLOURS[index % (len(COLOURS) - 1)]
            axes.errorbar(
                *middles[index],
                _error(along),
                _error(across),
                fmt="o",
                markersize=5,
                linewidth=1,
                color=colour,
                label=name,
            )
        name_axes(axes, x, y, len(points))

    return draw_svg(draw, label, height=3.9)


def distributions(values: Mapping[str, Sequence[float]], *, x: str, label: str) -> Markup:
    """Draw each ``name: values`` as a smooth density over a shared axis, the first on top, its mean marked.

    Every density is drawn equally high, so that a narrow one does not flatten the others.
    """
    low, high = np.percentile(np.concatenate([np.asarray(each, float) for each in values.values()]), [0.5, 99.5])
    margin = 0.2 * (high - low) or 1.0
    grid = np.linspace(low - margin, high + margin, _GRID_POINTS)
    densities = {name: _density(np.asarray(each, float), grid) for name, each in values.items()}

    def draw(axes: Axes) -> None:
        for row, (name, density) in enumerate(densities.items()):
            base, mean = len(values) - 1 - row, float(np.mean(values[name]))
            top = base + _HEIGHT * density / density.max()  # each as high as the others, however narrow
            axes.fill_between(grid, base, top, color=COLOURS[0], alpha=0.35, linewidth=0, zorder=row)
            axes.plot(grid, top, color=COLOURS[0], linewidth=1.2, zorder=row)
            axes.plot([mean, mean], [base, base + 0.3], color=COLOURS[1], linewidth=2.2, zorder=len(values))
        axes.set_yticks(range(len(values)), list(values)[::-1])
        name_axes(axes, x, "", 0, grid="x")

    return draw_svg(draw, label, height=1.2 + _ROW_HEIGHT * len(values))


def by_checkpoint(
    lines: Mapping[str, Mapping[str, tuple[float, Interval]]], *, y: str, label: str, lowest: float | None = 0.0
) -> Markup:
    """Draw ``{quantity: {checkpoint: (value, interval)}}`` as lines over the checkpoints in order, with intervals.

    Args:
        lowest: where the axis begins; None leaves it to the values.
    """
    names = list(dict.fromkeys(name for line in lines.values() for name in line))

    def draw(axes: Axes) -> None:
        for index, (quantity, line) in enumerate(lines.items()):
            at = [names.index(name) + 0.06 * (index - (len(lines) - 1) / 2) for name in line]
            middle = [value for value, _ in line.values()]
            low = [value - bounds.get("low", value) for value, bounds in line.values()]
            high = [bounds.get("high", value) - value for value, bounds in line.values()]
            errors = [np.maximum(0, low), np.maximum(0, high)]
            axes.errorbar(at, middle, yerr=errors, fmt="o-", markersize=4, capsize=2, linewidth=1.5, label=quantity)
        name_checkpoints(axes, names)
        axes.margins(y=0.08)
        axes.set_ylim(bottom=lowest)
        name_axes(axes, "", y, len(lines))

    return draw_svg(draw, label)


def table_of_shares(shares: Mapping[str, Mapping[str, float]], *, x: str, y: str, label: str) -> Markup:
    """Draw ``{row: {column: share}}`` as a table whose cells are the darker the larger the share (in %)."""
    columns = list(dict.fromkeys(column for row in shares.values() for column in row))
    cells = np.array([[100 * row.get(column, np.nan) for column in columns] for row in shares.values()])
    spread = max(float(np.nanmax(cells) - np.nanmin(cells)), 1.0)

    def draw(axes: Axes) -> None:
        for (row, column), value in np.ndenumerate(cells):
            if not np.isnan(value):
                shade = 0.08 + 0.52 * (value - float(np.nanmin(cells))) / spread
                axes.barh(row, 1, left=column - 0.5, height=1, color=COLOURS[0], alpha=shade, linewidth=0)
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=INK, fontsize=9)
        axes.set_xticks(range(len(columns)), columns, fontsize=8)
        axes.set_yticks(range(len(shares)), list(shares), fontsize=8)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        name_axes(axes, x, y, 0)
        axes.grid(False)

    return draw_svg(draw, label, height=1.2 + _ROW_HEIGHT * len(shares))


def _density(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return a Gaussian kernel density estimate with Scott's bandwidth, at least a hundredth of the grid's width."""
    bandwidth = max(float(values.std()) * len(values) ** -0.2, (grid[-1] - grid[0]) / 100)
    kernels = np.exp(-0.5 * ((grid[:, None] - values[None, :]) / bandwidth) ** 2)
    return kernels.mean(1) / (bandwidth * np.sqrt(2 * np.pi))


def _error(measured: tuple[float, Interval]) -> list[list[float]]:
    """Return the distances, in %, to the lower and the upper bound, as matplotlib takes them."""
    value, bounds = measured
    return [[100 * max(0.0, value - bounds["low"])], [100 * max(0.0, bounds["high"] - value)]]


def _dotted(axes: Axes) -> None:
    for line in (axes.axvline, axes.axhline):
        line(50, color=COLOURS[-1], linewidth=1, linestyle=":")
