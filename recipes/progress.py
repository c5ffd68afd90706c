"""What people see while a recipe runs: which step of how many, for how long, and the stage's own progress bar.

The libraries under a stage print a great deal. All of it goes to the step's log; of a line that is drawn over and over
(a progress bar) only the last state does, and the current one stands in our status line.
"""

import contextlib
import io
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from recipes.step import Step

_REFRESHES_PER_SECOND = 4


class StageOutput(io.TextIOBase):
    """A text stream that writes finished lines to a log file and keeps the line being redrawn as `bar`.

    One object serves all steps: loggers keep the stream that they first saw.
    """

    encoding = "utf-8"

    def __init__(self) -> None:
        self.bar = ""
        self._line = ""
        self._redrawn = False
        self._log: TextIO | None = None

    @contextlib.contextmanager
    def to(self, path: Path) -> Iterator[None]:
        """Append to the log at `path` while the context lasts; what is written outside of one is dropped."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._log = path.open("a", encoding="utf-8", buffering=1)
        self._write_line(time.strftime("--- started %Y-%m-%d %H:%M:%S"))
        try:
            yield
        finally:
            if self._line.strip():
                self.write("\n")
            self._close()
            self._line, self._redrawn, self.bar = "", False, ""

    def writable(self) -> bool:
        """Say that this stream takes text."""
        return True

    def write(self, text: str) -> int:
        """Take `text` as a terminal would: a carriage return starts the line over, a newline ends it."""
        for piece in re.split(r"(\r|\n)", text):
            if piece == "\n":
                self._write_line(self._line.rstrip())
                self._line, self._redrawn = "", False
            elif piece == "\r":
                self._line, self._redrawn = "", True
            else:
                self._line += piece
        self.bar = self._line.strip() if self._redrawn else ""
        return len(text)

    def _write_line(self, line: str) -> None:
        """Write to the log while it takes anything: a full disk is the stage's to notice, in what it has to write."""
        try:
            if self._log is not None:
                self._log.write(line + "\n")
        except OSError:
            self._close()

    def _close(self) -> None:
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.close()
        self._log = None


class Progress:
    """The status line of a running recipe, and one line for every step that is over. Use as a context."""

    def __init__(self, num_steps: int, console: Console | None = None) -> None:
        # The stream itself, not a reference to sys.stderr, which is another one while a stage runs in this process.
        self._console = console or Console(file=sys.stderr, highlight=False)
        self._num_steps = num_steps
        self._number = 0
        self._began = time.monotonic()
        self._output = StageOutput()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._console.print(f"all {self._num_steps} steps done in {_clock(time.monotonic() - self._began)}")

    def skip(self, step: Step) -> None:
        """Show that `step` was done already."""
        self._number += 1
        self._console.print(self._label(step).append(" · done already", "dim"))

    @contextlib.contextmanager
    def running(self, step: Step, why: str = "") -> Iterator[StageOutput]:
        """Show `step` as running while the context lasts; yields where the stage's output belongs.

        Args:
            why: the reason for running a step again, shown once.
        """
        self._number += 1
        began = time.monotonic()
        if why or not self._console.is_terminal:
            self._console.print(self._label(step).append(f" · again: {why}" if why else " · started", "dim"))
        with self._live(step, began):
            yield self._output
        self._console.print(self._label(step).append(f" · {_clock(time.monotonic() - began)}", "green"))

    def tell(self, step: Step, notes: Iterable[str]) -> None:
        """Show what the finished `step` left for people to know."""
        for note in notes:
            self._console.print(self._label(step).append(f" · note: {note}", "yellow"))

    def _live(self, step: Step, began: float) -> contextlib.AbstractContextManager:
        if not self._console.is_terminal:
            return contextlib.nullcontext()
        spinner = Spinner("dots")

        def line() -> Table:
            now = time.monotonic()
            text = self._label(step).append(f" · {_clock(now - began)} (total {_clock(now - self._began)})", "cyan")
            if self._output.bar:
                text.append(f" · {self._output.bar}", "dim")
            text.no_wrap, text.overflow = True, "ellipsis"
            row = Table.grid(padding=(0, 1))
            row.add_row(spinner, text)
            return row

        return Live(
            get_renderable=line,
            console=self._console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,  # the stage's own redirection must not be undone
            redirect_stderr=False,
        )

    def _label(self, step: Step) -> Text:
        width = len(str(self._num_steps))
        return Text(f"[{self._number:>{width}}/{self._num_steps}] {step.title}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
