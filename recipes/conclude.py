"""What a run ends with: `results.json`, `report.html`, and the tables on the terminal."""

import json
from pathlib import Path

from rich.console import Console


def conclude(root: Path) -> None:
    """Write `results.json` and the report of the run in `root`; print the one's tables and the other's path."""
    from recipes.report.page import write_report
    from recipes.result_tables import result_tables
    from recipes.results import write_results

    results = json.loads(write_results(root).read_text(encoding="utf-8"))
    console = Console()
    for table in result_tables(results):
        console.print(table)
    print(f"report: {write_report(root)}")
