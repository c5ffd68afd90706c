"""The stage that makes the small world's files: text for the base model, demonstrations, prompts, dialogues, tokenizer.

Each file has its own random stream, so that asking for more rows of one leaves the others as they were.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_model.rows import read_rows, write_rows
from chat_model.stage import StageRun
from recipes.quickstart.adversarial import adversarial_rows
from recipes.quickstart.base_text import make_document
from recipes.quickstart.demonstrations import DemonstrationMix, demonstrate, demonstrate_instructed
from recipes.quickstart.prompts import make_long_dialogue, make_prompts
from recipes.quickstart.splits import Split, combinations

Row = dict[str, Any]


@dataclass
class WorldConfig:
    """How much of everything to write."""

    output_dir: str = field(default="", metadata={"help": "folder to write to"})
    seed: int = field(default=0, metadata={"help": "the same seed gives the same bytes"})
    num_base_documents: int = field(default=3000, metadata={"help": "documents of 20 to 120 words of plain text"})
    num_demonstrations: int = field(default=4000, metadata={"help": "dialogues for supervised fine-tuning"})
    num_demonstrations_test: int = field(default=200, metadata={"help": "held-out dialogues"})
    num_instructed: int = field(default=600, metadata={"help": "instructed dialogues to rehearse in each round"})
    num_prompts_train: int = field(default=2000, metadata={"help": "prompts for preferences and both ways of RLHF"})
    num_prompts_test: int = field(default=300, metadata={"help": "held-out prompts"})
    num_dialogues_train: int = field(default=300, metadata={"help": "dialogues of 20 turns for Ghost Attention"})
    num_dialogues_test: int = field(default=100, metadata={"help": "held-out dialogues of 20 turns"})
    num_adversarial_train: int = field(default=600, metadata={"help": "adversarial and borderline prompts, in styles"})
    num_adversarial_test: int = field(default=400, metadata={"help": "held-out ones"})
    vocab_size: int = field(default=768, metadata={"help": "tokens of the byte-level BPE tokenizer"})


def build(run: StageRun, config: WorldConfig, mix: DemonstrationMix) -> None:
    """Write every file of the world and the tokenizer into `run.folder`."""
    if run.is_main:
        write_files(run.folder, config, mix, count=run.count)
        save_tokenizer(run.folder, config.vocab_size)
        write_adversarial(run.folder, config, count=run.count)


def write_files(folder: Path, config: WorldConfig, mix: DemonstrationMix, count: Callable[..., None]) -> None:
    """Write the JSONL files, telling `count` the number of rows of each by its name."""
    for name, rows in _files(config, mix):
        count(**{name: write_rows(folder / f"{name}.jsonl", rows)})


def write_adversarial(folder: Path, config: WorldConfig, count: Callable[..., None]) -> None:
    """Write the adversarial prompts; after the tokenizer, which is made from the other files' texts alone."""
    splits: dict[Split, int] = {"train": config.num_adversarial_train, "test": config.num_adversarial_test}
    for split, num_rows in splits.items():
        name = f"adversarial_{split}"
        rows = adversarial_rows(random.Random(f"{config.seed} {name}"), split, num_rows)
        count(**{name: write_rows(folder / f"{name}.jsonl", rows)})


def _files(config: WorldConfig, mix: DemonstrationMix) -> Iterator[tuple[str, Iterable[Row]]]:
    def stream(name: str) -> random.Random:
        return random.Random(f"{config.seed} {name}")

    def repeat(name: str, num_rows: int, make: Callable[..., Row], **arguments: Any) -> tuple[str, Iterator[Row]]:
        rng = stream(name)
        return name, (make(rng, **arguments) for _ in range(num_rows))

    yield repeat("base", config.num_base_documents, _base_row)
    yield repeat("demonstrations", config.num_demonstrations, _demonstration_row, split="train", mix=mix)
    yield repeat("demonstrations_test", config.num_demonstrations_test, _demonstration_row, split="test", mix=mix)
    yield repeat("instructed", config.num_instructed, _instructed_row, split="train", mix=mix)
    yield "prompts_train", make_prompts(stream("prompts_train"), "train", config.num_prompts_train)
    yield "prompts_test", make_prompts(stream("prompts_test"), "test", config.num_prompts_test)
    yield repeat("dialogues_train", config.num_dialogues_train, make_long_dialogue, split="train")
    yield repeat("dialogues_test", config.num_dialogues_test, make_long_dialogue, split="test")
    yield "combinations_train", _combination_rows(stream("combinations_train"), "train")
    yield "combinations_test", _combination_rows(stream("combinations_test"), "test")


def _base_row(rng: random.Random) -> Row:
    return {"text": make_document(rng)}


def _demonstration_row(rng: random.Random, split: Split, mix: DemonstrationMix) -> Row:
    return {"messages": demonstrate(rng, split, mix)}


def _instructed_row(rng: random.Random, split: Split, mix: DemonstrationMix) -> Row:
    return {"messages": demonstrate_instructed(rng, split, mix)}


def _combination_rows(rng: random.Random, split: Split) -> list[Row]:
    rows = [
        {"constraints": [{"kind": each.kind, "value": each.value} for each in combination]}
        for combination in combinations(split)
    ]
    rng.shuffle(rows)
    return rows


def save_tokenizer(folder: Path, vocab_size: int) -> None:
    """Train the tokenizer on the texts of all files in `folder` and save it as ``folder/tokenizer``."""
    from chat_model.tokenizer import train_tokenizer

    train_tokenizer(read_texts(folder), vocab_size).save_pretrained(str(folder / "tokenizer"))


def read_texts(folder: Path) -> Iterator[str]:
    """Yield every text of the files in `folder`: documents, and the messages of dialogues and prompts."""
    for path in sorted(folder.glob("*.jsonl")):
        for _, row in read_rows(path):
            if "text" in row:
                yield row["text"]
            for message in row.get("messages") or row.get("prompt") or ():
                yield message["content"]
