"""What a benchmark prints: a table for people, then one JSON object on the last line for programs."""

import json
import os
import platform
from dataclasses import asdict, dataclass

import torch
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Comparison:
    """The same measurements of us and of the peer, and their ratios (above 1: we are better)."""

    benchmark: str
    ratios: dict[str, float]
    ours: dict[str, float]
    peer: dict[str, float]
    machine: str


def compare_speeds(benchmark: str, ours: dict[str, float], peer: dict[str, float]) -> Comparison:
    """Return the comparison of two sets of speeds (units a second), measurement by measurement."""
    ratios = {name: round(ours[name] / peer[name], 3) for name in ours}
    return Comparison(benchmark, ratios, ours, peer, _machine())


def show(comparison: Comparison, title: str) -> None:
    """Print the table and, last, the JSON line on standard output."""
    table = Table(title=title, caption=comparison.machine)
    for column in ("", "ours", "peer", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for name, ratio in comparison.ratios.items():
        table.add_row(name, f"{comparison.ours[name]:,.0f}", f"{comparison.peer[name]:,.0f}", f"{ratio:.2f}")
    Console().print(table)
    print(json.dumps(asdict(comparison)), flush=True)


def _machine() -> str:
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.system()} {platform.machine()}, {accelerator}, {versions}"
