"""What `rounds doctor` prints: a batch of every stage with its masks, what waits, and what is wrong."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from chat_model.check_up import CheckUp, Finding

_LONGEST = 1200  # characters of a row that are shown


def print_step(console: Console, name: str, check_up: CheckUp) -> None:
    """Print one step: how many checks passed, its rows in colour, and what had to wait."""
    mark = Text("found ", "red") if check_up.findings else Text("fine  ", "green")
    counts = f"  {len(check_up.passed)} checks passed, {len(check_up.findings)} findings"
    console.print(mark + Text(name or "the recipe as a whole", "bold") + Text(counts, "dim"))
    for title, text in check_up.shown:
        console.print(Text(f"  {title}", "dim italic"))
        console.print(_shortened(text), soft_wrap=True)
    for what, names in _grouped(check_up.waiting).items():
        console.print(Text(f"  waits for {what}: {', '.join(names)}", "yellow"))


def print_findings(console: Console, findings: Sequence[tuple[str, Finding]], num_passed: int) -> None:
    """Print every finding: what, why it matters, how to fix it."""
    for step, finding in findings:
        place = f"{step}: " if step else ""
        console.print(Text(f"\n{place}{finding.check}", "bold red"))
        for label, words in (("what", finding.what), ("why", finding.why), ("fix", finding.fix)):
            console.print(Text(f"  {label:<5}", "dim") + Text(words), soft_wrap=True)
    found = f"{len(findings)} findings" if findings else "nothing found"
    console.print(Text(f"\n{found}; {num_passed} checks passed", "bold red" if findings else "bold green"))


def _shortened(text: Text) -> Text:
    if len(text) <= _LONGEST:
        return text
    return text[:_LONGEST] + Text(f" … {len(text) - _LONGEST} more characters", "dim")


def _grouped(waiting: Iterable[tuple[str, str]] | dict[str, str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for check, what in dict(waiting).items():
        grouped.setdefault(what, []).append(check)
    return grouped
