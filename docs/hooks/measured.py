"""A picture of what five rounds gave, drawn from the table of `recipes/five_rounds/README.md` at every build."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROW = re.compile(r"^\| ([\w +-]+) \| ([\d.]+) \((\d+) – (\d+)\) \| ([\d.]+) \((\d+) – (\d+)\) \|", re.MULTILINE)
_LEFT, _TOP, _HEIGHT, _STEP = 60, 40, 200, 96  # of the plot, in units of the drawing
_SERIES = {"helpfulness": "#3d84c6", "safety": "#d9822b"}

Point = tuple[float, float, float]  # value, and the bounds of its interval, in points of 100


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add `measured.svg`."""
    readme = Path(config.config_file_path).parent / "recipes" / "five_rounds" / "README.md"
    files.append(File.generated(config, "measured.svg", content=draw(read_table(readme.read_text(encoding="utf-8")))))
    return files


def read_table(text: str) -> dict[str, dict[str, Point]]:
    """Return ``{checkpoint: {series: point}}`` from the README's first table of results."""
    found = {}
    for name, *numbers in _ROW.findall(text):
        helpful, safe = (tuple(float(number) for number in numbers[at : at + 3]) for at in (0, 3))
        found[name.strip()] = {"helpfulness": helpful, "safety": safe}
    assert found, "recipes/five_rounds/README.md: the table 'checkpoint | helpfulness (95 %) | safety (95 %)' is gone"
    return found


def draw(checkpoints: dict[str, dict[str, Point]]) -> str:
    """Return the picture as SVG: a line for each series over the checkpoints, its intervals as bars."""
    width = _LEFT + _STEP * len(checkpoints)
    parts = [_AXIS.format(x=_LEFT - 20, end=width - 20, y=_y(value), value=value) for value in (0, 25, 50, 75, 100)]
    for number, name in enumerate(checkpoints):
        parts.append(f'<text x="{_x(number)}" y="{_TOP + _HEIGHT + 22}">{name}</text>')
    for series, colour in _SERIES.items():
        parts.append(_line([point[series] for point in checkpoints.values()], colour, series))
    return _PAGE.format(width=width, height=_TOP + _HEIGHT + 40, parts="\n".join(parts))


def _line(points: list[Point], colour: str, series: str) -> str:
    places = [(_x(number), *map(_y, point)) for number, point in enumerate(points)]
    path = " ".join(f"{x},{value:.1f}" for x, value, _, _ in places)
    bars = "".join(f'<path d="M{x} {low:.1f}V{high:.1f}"/>' for x, _, low, high in places)
    dots = "".join(f'<circle cx="{x}" cy="{value:.1f}" r="4" fill="{colour}"/>' for x, value, _, _ in places)
    label = f'<text x="{_LEFT + (80 if series == "safety" else 0)}" y="20" style="fill:{colour}">{series}</text>'
    return f'<g stroke="{colour}" fill="none" stroke-width="2"><polyline points="{path}"/>{bars}</g>{dots}{label}'


def _x(number: int) -> int:
    return _LEFT + 24 + number * _STEP


def _y(value: float) -> float:
    return _TOP + _HEIGHT * (1 - value / 100)


_AXIS = '<path class="axis" d="M{x} {y:.1f}H{end}"/><text x="18" y="{y:.1f}">{value}</text>'
_PAGE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">
<title id="title">Helpfulness and safety of each checkpoint of the five rounds, with 95 % intervals</title>
<style>
text {{ font: 12.5px system-ui, sans-serif; text-anchor: middle; fill: #667079; stroke: none; }}
.axis {{ stroke: #8a929a; stroke-opacity: 0.4; }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #a2abb3; }} }}
</style>
{parts}
</svg>
"""
