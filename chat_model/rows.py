"""Rows in and out: JSONL (plain or gzip), Parquet, `datasets` folders and hub ids; JSONL, whole or not at all.

Every row comes with where it stood (``file:line``), so that whatever refuses it can say which one.
"""

import contextlib
import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TextIO, TypeVar

from chat_model.conversation import Conversation, PreferencePair, Prompt
from chat_model.errors import InputError, suggestion

Row = dict[str, Any]
T = TypeVar("T")


def read_conversations(source: str | Path) -> list[Conversation]:
    """Read every row of `source` as a conversation. Raises InputError at the first bad one."""
    return _read(source, Conversation.from_row)


def read_prompts(source: str | Path) -> list[Prompt]:
    """Read every row of `source` as a prompt. Raises InputError at the first bad one."""
    return _read(source, Prompt.from_row)


def read_preferences(source: str | Path) -> list[PreferencePair]:
    """Read every row of `source` as a preference pair. Raises InputError at the first bad one."""
    return _read(source, PreferencePair.from_row)


def _read(source: str | Path, parse: Callable[[Row, str], T]) -> list[T]:
    parsed = [parse(row, where) for where, row in read_rows(source)]
    if not parsed:
        raise InputError(f"{source}: found no rows; expected at least one")
    return parsed


def read_rows(
    source: str | Path, split: str = "train", stream: bool = False, hub_options: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Row]]:
    """Yield ``(where, row)`` for every row of a JSONL(.gz) or Parquet file, a `datasets` folder or a hub id.

    Args:
        source: the file, folder or hub id.
        split: of a folder or hub id.
        stream: read Parquet, folders and hub ids row by row, without preparing the whole of them on disk first.
        hub_options: further arguments of `datasets.load_dataset` for a hub id: ``name``, ``data_dir``, ``revision``.

    Raises:
        InputError: when nothing is found under that name, or a line is not a JSON object (names file and line).
    """
    path = Path(source)
    if path.is_file() and path.suffix == ".parquet":
        yield from _read_dataset(path.name, _load("parquet", "train", stream, str(path), data_files=str(path)))
    elif path.is_file():
        yield from _read_jsonl(path)
    elif path.is_dir():
        yield from _read_dataset(path.name, _load_folder(path, split, stream))
    elif _looks_like_path(str(source)):
        raise InputError(f"{source}: no such file or folder")
    else:
        yield from _read_dataset(str(source), _load(str(source), split, stream, str(source), **hub_options or {}))


def _looks_like_path(source: str) -> bool:
    file_suffixes = (".jsonl", ".json", ".gz", ".parquet")
    return source.startswith((".", "/", "~")) or source.endswith(file_suffixes) or source.count("/") > 1


def _read_jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    with _open_text(path, "r") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{path}:{number}", _parse_line(line, f"{path}:{number}")
        except (EOFError, UnicodeDecodeError, gzip.BadGzipFile) as error:
            raise InputError(f"{path}: cannot be read as text ({error})") from error


def _open_text(path: Path, mode: Literal["r", "w"]) -> TextIO:
    """Open plain or gzip-compressed text (by suffix, that of a file being written standing before ``.partial``)."""
    compressed = ".gz" in path.suffixes[-3:]
    return gzip.open(path, f"{mode}t", encoding="utf-8") if compressed else path.open(mode, encoding="utf-8")


def _parse_line(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not JSON ({error.msg} at column {error.colno}); expected one object a line"
        ) from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: found {type(row).__name__}; expected a JSON object")
    return row


def _load_folder(path: Path, split: str, stream: bool) -> Iterable[Row]:
    import datasets

    if not (path / "dataset_dict.json").exists() and not (path / "dataset_info.json").exists():
        return _load(str(path), split, stream, str(path))
    loaded = datasets.load_from_disk(str(path))
    if not isinstance(loaded, datasets.DatasetDict):
        return loaded
    if split not in loaded:
        raise InputError(f"{path}: no split '{split}'{suggestion(split, loaded)}; found {', '.join(loaded)}")
    return loaded[split]


def _load(path: str, split: str, stream: bool, shown: str, /, **options: str) -> Iterable[Row]:
    import datasets

    try:
        return datasets.load_dataset(path, split=split, streaming=stream, **options)
    except Exception as error:
        raise InputError(f"{shown}: neither a file here nor a dataset that can be loaded ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _read_dataset(name: str, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    try:
        for number, row in enumerate(rows, 1):
            yield f"{name}:{number}", row
    except Exception as error:
        raise InputError(f"{name}: cannot be read to its end ({_reason(error)})") from error


@contextlib.contextmanager
def write_whole(path: str | Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; on success it is renamed to `path`, on any error removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def remove_unfinished(folder: Path, below: bool = True) -> None:
    """Remove from `folder`, and `below` it, what `write_whole` was writing when it was killed; none may write there."""
    for file in folder.glob("**/.*.partial" if below else ".*.partial"):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def row_writer(path: str | Path) -> Iterator[Callable[[Row], None]]:
    """Give a function that writes one row as a line of JSON (gzip when the name ends in .gz).

    `path` appears only when the context ends well.
    """
    with write_whole(path) as beside, _open_text(beside, "w") as file:
        yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)


def write_rows(path: str | Path, rows: Iterable[Row]) -> int:
    """Write `rows` as JSONL (gzip when the name ends in .gz) and return how many; `path` appears only when whole."""
    num_rows = 0
    with row_writer(path) as write:
        for row in rows:
            write(row)
            num_rows += 1
    return num_rows


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON; `path` appears only when whole."""
    with write_whole(path) as beside:
        beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
