"""What each step of a recipe will take on a GPU, as a table for the terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from recipes.planner.devices import Device
from recipes.planner.estimate import Estimate

_GIB = 2**30


def estimates_table(estimates: Sequence[tuple[str, Estimate | None]], device: Device) -> Table:
    """Return a row for each step that has an estimate: memory of one process, red where it does not fit, time, and what
    both rest on.
    """
    title = f"Planned for one {device.name}: arithmetic, not run"
    table = Table("step", "memory, GiB", "time", "rests on", title=title)
    for name, estimate in estimates:
        if estimate is None:
            continue
        memory = Text(f"{estimate.peak / _GIB:.1f}", "" if estimate.fits(device) else "red") if estimate.memory else ""
        table.add_row(name, memory, _time(estimate.seconds), Text(estimate.why, "dim"))
    return table


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
