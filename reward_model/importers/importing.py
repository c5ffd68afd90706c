"""The import stage: a public dataset in, files of ours out, split by opening message, every drop counted by reason.

Preference sets give `train.jsonl` and `test.jsonl` of pairs; every set gives `conversations_train.jsonl` and
`conversations_test.jsonl` for supervised fine-tuning, which for preferences are the chosen replies.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from chat_model.conversation import Conversation, PreferencePair
from chat_model.errors import InputError
from chat_model.rows import read_rows, write_rows
from chat_model.stage import StageRun
from reward_model.importers import anthropic_hh, gsm8k
from reward_model.mixing import hold_out, opening


@dataclass
class ImportArguments:
    """Which dataset is imported, from where, and how it is split."""

    name: Literal["anthropic_hh", "gsm8k"] = field(metadata={"help": "The dataset's schema."})
    source: str = field(metadata={"help": "A file, a folder or a hub id."})
    output_dir: str = field(metadata={"help": "Where train.jsonl, test.jsonl and the conversations go."})
    split: str = field(default="train", metadata={"help": "Split to read of a folder or hub id."})
    domain: Literal["helpfulness", "safety"] | None = field(
        default=None, metadata={"help": "Domain of the pairs; nothing when the set mixes both."}
    )
    test_share: float = field(default=0.1, metadata={"help": "Share of the opening messages held out for the test."})
    seed: int = field(default=0, metadata={"help": "Seed of the split."})

    def __post_init__(self) -> None:
        """Refuse a share that leaves one side empty."""
        if not 0 < self.test_share < 1:
            raise InputError(f"test_share: found {self.test_share}; expected above 0 and below 1")


def import_dataset(run: StageRun, arguments: ImportArguments) -> None:
    """Write the files of the module docstring into `run.folder`.

    Raises:
        InputError: a row without the dataset's columns, or no usable row.
    """
    match arguments.name:
        case "anthropic_hh":
            pairs = _read_pairs(run, arguments)
            conversations = [Conversation(pair.prompt + pair.chosen) for pair in pairs]
            _write_split(run, arguments, "{}.jsonl", pairs, lambda pair: opening(pair.prompt))
        case "gsm8k":
            rows = read_rows(arguments.source, arguments.split)
            conversations = [gsm8k.to_conversation(row, where) for where, row in rows]
            run.count(read=len(conversations), kept=len(conversations), dropped={})
    _write_split(run, arguments, "conversations_{}.jsonl", conversations, lambda one: opening(one.messages))


def _read_pairs(run: StageRun, arguments: ImportArguments) -> list[PreferencePair]:
    pairs: list[PreferencePair] = []
    dropped: Counter[str] = Counter()
    for where, row in read_rows(arguments.source, arguments.split):
        try:
            pairs.append(anthropic_hh.to_pair(row, where, arguments.domain))
        except anthropic_hh.Unusable as reason:
            dropped[str(reason)] += 1
    run.count(read=len(pairs) + dropped.total(), kept=len(pairs), dropped=dict(dropped))
    return pairs


def _write_split(run: StageRun, arguments: ImportArguments, pattern: str, items: Sequence, key) -> None:
    sides = hold_out(items, key, arguments.test_share, arguments.seed)
    for side, kept in zip(("train", "test"), sides, strict=True):
        if not kept:
            raise InputError(
                f"{arguments.source}: no row for {side} among {len(items)}; test_share {arguments.test_share}"
            )
        name = pattern.format(side)
        write_rows(run.folder / name, (item.to_row() for item in kept))
        run.count(**{name.removesuffix(".jsonl"): len(kept)})
