"""The import stage: a public dataset in, files of ours out, split by opening message, every drop counted by reason.

Preference sets give `train.jsonl` and `test.jsonl` of pairs; every set gives `conversations_train.jsonl` and
`conversations_test.jsonl` for supervised fine-tuning, which for preferences are the chosen replies that are not unsafe.
Rows are read, mapped and written one by one, so a set may be larger than memory. What a dataset's fields mean stands in
the module of its name.
"""

import contextlib
import dataclasses
import importlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from tqdm.auto import tqdm

from chat_model.conversation import Conversation, Message, PreferencePair
from chat_model.errors import InputError, suggestion
from chat_model.rows import read_rows, row_writer
from chat_model.stage import StageRun
from reward_model.importers.source_row import HubDataset, Row, Unusable
from reward_model.mixing import is_held_out, opening

Write = Callable[[str, Row], None]  # takes the stem of a file's name, and a row for it

NAMES = (
    "anthropic_hh",
    "stanford_shp",
    "openai_summarize",
    "openai_webgpt",
    "stack_exchange",
    "synthetic_gptj",
    "ultrafeedback",
    "helpsteer2",
    "helpsteer3",
    "pku_saferlhf",
    "trl_preference",
    "trl_conversations",
    "gsm8k",
)


@dataclass
class ImportArguments:
    """Which dataset is imported, from where, and how it is split."""

    name: str = field(metadata={"help": f"The dataset's schema: {', '.join(NAMES)}."})
    source: str = field(metadata={"help": "A file, a folder or a hub id."})
    output_dir: str = field(metadata={"help": "Where train.jsonl, test.jsonl and the conversations go."})
    split: str | None = field(
        default=None, metadata={"help": "Split to read of a folder or hub id. Default: train, or the dataset's own."}
    )
    subset: str | None = field(default=None, metadata={"help": "Configuration of a hub id."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder of a hub id, such as harmless-base."})
    revision: str | None = field(default=None, metadata={"help": "Revision of a hub id."})
    domain: Literal["helpfulness", "safety"] | None = field(
        default=None, metadata={"help": "Domain of the pairs whose dataset does not say; nothing when it mixes both."}
    )
    test_share: float = field(
        default=0.1, metadata={"help": "Share of the opening messages held out for the test; 0 holds out none."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the split."})

    def __post_init__(self) -> None:
        """Refuse a dataset that nobody knows and a share that leaves nothing to train on."""
        if self.name not in NAMES:
            hint = suggestion(self.name, NAMES)
            raise InputError(f"import: unknown dataset '{self.name}'{hint}; expected one of {', '.join(NAMES)}")
        if not 0 <= self.test_share < 1:
            raise InputError(f"test_share: found {self.test_share}; expected at least 0 and below 1")


@dataclass
class _Counts:
    """What an import has read, dropped and written so far."""

    dropped: Counter[str] = field(default_factory=Counter)
    by_rating: Counter[str] = field(default_factory=Counter)
    by_domain: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    read: int = 0
    pairs: int = 0
    unsafe_replies: int = 0

    def of_run(self) -> dict[str, Any]:
        """Return the numbers as `run.json` has them: rows read, kept and dropped, pairs, and lines of each file."""
        return {
            "read": self.read,
            "kept": self.read - self.dropped.total(),
            "dropped": dict(self.dropped),
            "pairs": self.pairs,
            "by_rating": dict(self.by_rating),
            "by_domain": dict(self.by_domain),
            "unsafe_replies_not_in_conversations": self.unsafe_replies,
            **dict(sorted(self.files.items())),
        }


def import_dataset(run: StageRun, arguments: ImportArguments, limit: int | None = None) -> None:
    """Write the files of the module docstring into `run.folder`; the counts go to `run`.

    Args:
        limit: read no more than this many rows, for a look at what they become.

    Raises:
        InputError: nothing to read, a row of another schema, or no usable row for one side of the split.
    """
    if not run.is_main:
        return
    importer = importlib.import_module(f"reward_model.importers.{arguments.name}")
    counts = _Counts()
    with _open_files(run.folder, counts.files) as write:
        rows = itertools.islice(_rows(importer, arguments), limit)
        for where, row in tqdm(rows, desc=f"import {arguments.name}", unit=" rows", disable=limit is not None):
            counts.read += 1
            try:
                pairs, conversations = _map(importer, row, where)
            except Unusable as reason:
                counts.dropped[str(reason)] += 1
                continue
            _write_pairs(pairs, arguments, counts, write)
            for conversation in conversations:
                write(f"conversations_{_side(conversation.messages, arguments)}", conversation.to_row())
    _check_files(arguments, counts, "" if hasattr(importer, "to_pairs") else "conversations_")
    run.count(**counts.of_run())


def _rows(importer: ModuleType, arguments: ImportArguments) -> Iterator[tuple[str, Row]]:
    """Yield the source's rows; a dataset's own place on the hub is known, what the arguments say goes before it."""
    known: HubDataset = importer.HUB
    hub = known if arguments.source == known.id else HubDataset(arguments.source)
    given = {"name": arguments.subset, "data_dir": arguments.data_dir, "revision": arguments.revision}
    hub = dataclasses.replace(hub, **{name: value for name, value in given.items() if value})
    options = {name: value for name in given if (value := getattr(hub, name))}
    return read_rows(arguments.source, arguments.split or hub.split, stream=True, hub_options=options)


@contextlib.contextmanager
def _open_files(folder: Path, num_rows: Counter[str]) -> Iterator[Write]:
    """Give a function ``write(stem, row)`` that opens each file when its first row comes, and counts its rows."""
    writers: dict[str, Callable[[Row], None]] = {}
    with contextlib.ExitStack() as files:

        def write(stem: str, row: Row) -> None:
            if stem not in writers:
                writers[stem] = files.enter_context(row_writer(folder / f"{stem}.jsonl"))
            writers[stem](row)
            num_rows[stem] += 1

        yield write


def _map(importer: ModuleType, row: Row, where: str) -> tuple[list[PreferencePair], list[Conversation]]:
    """Return a row's pairs, and its conversations: the row itself, or the chosen replies that are not unsafe."""
    if not hasattr(importer, "to_pairs"):
        return [], [importer.to_conversation(row, where)]
    pairs: list[PreferencePair] = importer.to_pairs(row, where)
    replies = dict.fromkeys(pair.prompt + pair.chosen for pair in pairs if pair.chosen_safe is not False)
    return pairs, [Conversation(messages) for messages in replies]


def _write_pairs(pairs: list[PreferencePair], arguments: ImportArguments, counts: _Counts, write: Write) -> None:
    for pair in pairs:
        pair = dataclasses.replace(pair, domain=pair.domain or arguments.domain)
        counts.pairs += 1
        counts.by_rating[pair.rating or "unrated"] += 1
        counts.by_domain[pair.domain or "none"] += 1
        counts.unsafe_replies += pair.chosen_safe is False
        write(_side(pair.prompt, arguments), pair.to_row())


def _side(messages: Sequence[Message], arguments: ImportArguments) -> str:
    return "test" if is_held_out(opening(messages), arguments.test_share, arguments.seed) else "train"


def _check_files(arguments: ImportArguments, counts: _Counts, prefix: str) -> None:
    for side in ("train", "test") if arguments.test_share else ("train",):
        if not counts.files[prefix + side]:
            reasons = ", ".join(f"{reason}: {number}" for reason, number in counts.dropped.items()) or "none"
            raise InputError(
                f"{arguments.source}: no row for {side} among {counts.read - counts.dropped.total()} usable of "
                f"{counts.read}; dropped: {reasons}; test_share: {arguments.test_share}"
            )
