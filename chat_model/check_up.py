"""A check-up of one stage before it runs: what its checks found, what they showed, and what had to wait.

A stage brings its checks in a module `checks` beside its `__main__`, with a function ``check(check_up, *configs)``;
`rounds doctor` calls it with the configuration that the stage itself would parse. A check is a ``with`` block, and
whatever it refuses with an InputError is a finding.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.text import Text

from chat_model.errors import InputError

ROWS_READ = 5000  # of each source, whose columns are looked at
ROWS_RENDERED = 100  # of those, spread over them, which are turned into tokens
LONG_SHARE = 0.1  # of rows over a bound on their length that is worth a finding

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what, why it matters, and how to mend it."""

    check: str
    what: str
    why: str
    fix: str


class ModelSource(Protocol):
    """Where checks get models from: the checkpoints themselves, or small random ones of the same architecture."""

    def tokenizer(self, name: str) -> Any:
        """Return the tokenizer that a checkpoint has or will have, or None while that is not known."""
        ...

    def provide(self, name: str, tokenizer: Any) -> None:
        """Let `tokenizer` be that of a checkpoint that does not exist yet."""
        ...

    def is_readable(self, name: str) -> bool:
        """Return whether a model or tokenizer stands under this name."""
        ...

    def checkpoint(self, name: str, is_scalar: bool = False) -> str | None:
        """Return a checkpoint that loads within a second or so, or None while there is no telling its architecture."""
        ...


@dataclass(frozen=True)
class Maker:
    """The step that will leave a path which does not exist yet."""

    step: str
    arguments: Mapping[str, Any]


@dataclass
class CheckUp:
    """The account of one step's checks."""

    models: ModelSource
    maker_of: Callable[[str], Maker | None] = lambda path: None  # None: the path exists, or no step makes it
    output: Path | None = None  # the step's finished output folder, if there is one
    launch: Mapping[str, Any] = field(default_factory=dict)  # the content of the launch config, if there is one
    tensor_parallel: int = 1  # the recipe's: processes that hold one model together where a stage samples or scores
    rows_shown: int = 1
    scratch: Path | None = None  # where stand-ins are written
    places: dict[str, Path] = field(default_factory=dict)  # output folder -> what stands in for it, for all steps
    findings: list[Finding] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)  # check -> the step, or what else it waits for
    shown: list[tuple[str, Text]] = field(default_factory=list)

    @property
    def num_processes(self) -> int:
        """The processes that the launch config starts."""
        return int(self.launch.get("num_processes", 1))

    @contextlib.contextmanager
    def check(self, name: str, why: str, fix: str, *faults: type[Exception]) -> Iterator[None]:
        """Run one check; an InputError in it, or one of `faults`, becomes a finding with `why` and `fix`."""
        try:
            yield
        except (InputError, *faults) as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self.findings.append(Finding(name, f"{kind}{error}", why, fix))
        else:
            self.passed.append(name)

    def failed(self, name: str) -> bool:
        """Return whether a check of this name has a finding."""
        return any(finding.check == name for finding in self.findings)

    def waits_for(self, path: str, *checks: str) -> bool:
        """Return whether `path` does not exist yet because a step will make it; then `checks` are noted as waiting."""
        maker = self.maker_of(path)
        if maker:
            self.waiting |= dict.fromkeys(checks, f"step '{maker.step}'")
        return maker is not None

    def place_for(self, output: str) -> Path:
        """Return a new folder whose files stand in for those that a step will leave in `output`."""
        assert self.scratch is not None
        folder = self.scratch / f"rows_{len(self.places)}"
        folder.mkdir()
        self.places[output] = folder
        return folder

    def locate(self, source: str) -> str | None:
        """Return where rows can be read now: `source`, or what stands in for it; None, noted as waiting, if nothing."""
        for output, folder in self.places.items() if self.maker_of(source) else ():
            stand_in = folder / Path(source).relative_to(output) if Path(source).is_relative_to(output) else folder
            if stand_in.is_file():
                return str(stand_in)
        return None if self.waits_for(source, f"columns of {source}") else source

    def read(self, source: str, parse: Callable[[str], Iterator[T]], why: str, fix: str) -> list[T]:
        """Return the first rows of a source as `parse` gives them; none, noted as waiting or found, if it cannot be."""
        place = self.locate(source)
        if place is not None:
            with self.check("columns", why, fix):
                return [*itertools.islice(parse(place), ROWS_READ)]
        return []

    def show(self, title: str, texts: Iterable[Text]) -> None:
        """Show the first few texts, as many as were asked for."""
        self.shown += [(title, text) for text in itertools.islice(texts, self.rows_shown)]


def spread(items: Sequence[T], count: int = ROWS_RENDERED) -> list[T]:
    """Return at most `count` of `items`, evenly spread over them."""
    step = max(1, len(items) / count)
    return [items[int(index * step)] for index in range(min(count, len(items)))]


def refuse_long(num_long: int, count: int, bound: int, what: str) -> None:
    """Raise InputError if more than a tenth of `count` rows are over their bound in tokens."""
    if num_long > LONG_SHARE * count:
        raise InputError(f"{num_long} of {count} {what} are over {bound} tokens")
