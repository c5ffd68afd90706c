"""What a run leaves in its folder, and when each step wrote it; but for what no two runs have in common."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RUN, _STEPS = "run.json", "configs"
_OF_THE_MOMENT = ("seconds", "finished", "inputs", "shards_resumed", "runtime", "per_second", "metrics.jsonl")
# transformers begins these sums anew where a run is resumed; its last line of metrics holds nothing else
_SINCE_THE_RESUME = ("train_loss", "tokens", "padding_share")
_NOT_COMPARED = (".lock", "report.html")  # the report draws the same results, and the seconds
_READERS: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
}


@dataclass(frozen=True)
class Span:
    """A finished step and the nanoseconds at which it began and ended."""

    step: str
    began: int
    ended: int

    @property
    def seconds(self) -> float:
        return (self.ended - self.began) / 1e9


def began_at(root: Path, step: str) -> int:
    """Return when the step was last started, in nanoseconds; 0 for never."""
    file = root / _STEPS / f"{step}.yaml"
    return file.stat().st_mtime_ns if file.exists() else 0


def is_done(root: Path, step: str) -> bool:
    return (root / step / _RUN).exists()


def finished(root: Path) -> dict[str, tuple[int, int]]:
    """Return what tells one making of a finished step's `run.json` from another: its inode and its time."""
    files = {file: file.stat() for file in root.rglob(f"*/{_RUN}") if not file.parent.name.endswith(".partial")}
    return {file.parent.relative_to(root).as_posix(): (at.st_ino, at.st_mtime_ns) for file, at in files.items()}


def timeline(root: Path) -> list[Span]:
    """Return the finished steps in the order in which they began."""
    spans = [Span(step, began_at(root, step), written) for step, (_, written) in finished(root).items()]
    return sorted(spans, key=lambda span: span.began)


def contents(root: Path) -> dict[str, Any]:
    """Return every file of a run by its path, JSON as what it says without seconds and times, all else as bytes."""
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and file.name not in _NOT_COMPARED]
    kept = [file for file in files if "logs" not in file.relative_to(root).parts]
    return {file.relative_to(root).as_posix(): _content(file) for file in kept}


def _content(file: Path) -> Any:
    read = _READERS.get(file.suffix)
    return _lasting(read(file.read_text(encoding="utf-8"))) if read else file.read_bytes()


def _lasting(value: Any) -> Any:
    """Drop what tells of the moment from JSON, however deep."""
    if isinstance(value, list):
        return [_lasting(each) for each in value if not (isinstance(each, dict) and "train_runtime" in each)]
    if isinstance(value, dict):
        dropped = (*_OF_THE_MOMENT, *_SINCE_THE_RESUME)
        return {key: _lasting(each) for key, each in value.items() if not any(word in key for word in dropped)}
    return value
