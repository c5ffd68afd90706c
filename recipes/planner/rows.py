"""How many rows a step will read and how long they are, from the files that are here already."""

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat_model.rows import read_rows

CHARACTERS_A_TOKEN = 4  # of English text and a vocabulary of 32,000 or more; assumed
_MEASURED = 500  # rows whose length is looked at


@dataclass(frozen=True)
class RowSizes:
    """Rows of one or more files."""

    rows: int
    mean_tokens: float


def sizes_of(sources: Iterable[str]) -> RowSizes | None:
    """Return the rows of all `sources` and their mean length, or None where one is no JSONL file that stands here.

    Raises:
        InputError: a file whose lines are not JSON.
    """
    rows, tokens = 0.0, 0.0
    for source in sources:
        path = Path(source)
        if not path.is_file() or path.suffix != ".jsonl":
            return None
        lengths = [len(json.dumps(row, ensure_ascii=False)) for _, row in itertools.islice(read_rows(path), _MEASURED)]
        if not lengths:
            return None
        mean = sum(lengths) / len(lengths)
        count = len(lengths) if len(lengths) < _MEASURED else path.stat().st_size / mean
        rows, tokens = rows + count, tokens + count * mean / CHARACTERS_A_TOKEN
    return RowSizes(round(rows), tokens / rows) if rows else None


def named_sources(arguments: Mapping[str, Any], *fields: str) -> list[str]:
    """Return the files, folders and hub ids that some fields of a stage name, one or a list each."""
    given = [arguments.get(field) for field in fields]
    return [str(source) for value in given for source in (value if isinstance(value, list) else [value]) if source]
