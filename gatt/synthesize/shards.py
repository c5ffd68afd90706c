"""Synthesis in shards: dialogues that are written before the next ones are begun.

A shard's draws depend on the seed and its number alone. A killed run therefore takes up the shards that it finds, and
goes on as if it had not been stopped.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chat_model.shards import Rows, Shards
from chat_model.stage import StageRun
from gatt.dialogue import Dialogue, Plan, Reply
from gatt.groups import Held

FOLDER = "shards"


@dataclass(frozen=True)
class HeldShards(Held):
    """Also how many shards a killed run had left."""

    num_resumed: int


def hold_in_shards(
    run: StageRun, plans: Sequence[Plan], hold_shard: Callable[[int, Sequence[Plan]], Held], size: int
) -> HeldShards:
    """Hold `plans` in shards of `size`, each kept in the run's folder until `forget_shards`.

    Args:
        hold_shard: (number of the shard, its plans) -> their dialogues; every process calls it.
    """
    shards, made, dialogues, num_cut_off = Shards(run.folder / FOLDER), [], [], 0
    starts = range(0, len(plans), size)
    for number, start in enumerate(starts):

        def make(number: int = number, shard: Sequence[Plan] = plans[start : start + size]) -> Rows:
            made.append(number)
            held = hold_shard(number, shard)
            return [*map(_to_row, held.dialogues), {"replies_cut_off": held.num_cut_off}]

        *rows, counted = shards.rows(f"{number:05d}", make)
        dialogues += [_from_row(row, plan) for row, plan in zip(rows, plans[start : start + size], strict=True)]
        num_cut_off += counted["replies_cut_off"]
    return HeldShards(dialogues, num_cut_off, len(starts) - len(made))


def has_shards(folder: Path) -> bool:
    """Return whether a killed run left finished shards in `folder`."""
    return any((folder / FOLDER).glob("*.jsonl"))


def forget_shards(run: StageRun) -> None:
    """Remove the shards, once everything in them stands in the outputs."""
    if run.is_main:
        shutil.rmtree(run.folder / FOLDER)


def _to_row(dialogue: Dialogue) -> dict[str, Any]:
    return {"replies": [asdict(reply) for reply in dialogue.replies], "ended": dialogue.ended}


def _from_row(row: dict[str, Any], plan: Plan) -> Dialogue:
    """Return a shard's dialogue; the seed has drawn its `plan` again."""
    return Dialogue(plan, tuple(Reply(**reply) for reply in row["replies"]), row["ended"])
