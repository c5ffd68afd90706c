"""Sampled dialogues -> training conversations: the instruction in the first turn only, the loss on the last reply only.

The earlier replies were sampled under an instruction that stood on every turn; now it stands far above them, so their
loss is zero (section 3.3). One dialogue of n turns yields several prefixes, each ending with the reply that trains.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from chat_model.conversation import Message, to_dicts
from gatt.checks import check
from gatt.constraints import Constraint
from gatt.dialogue import Dialogue, InstructionAs, context


def usable_turns(dialogue: Dialogue, left_out: Sequence[Constraint] = ()) -> list[int]:
    """Return the turns (from 1) whose reply was checked and follows; all of them where nothing can be checked.

    Turns that ask for one of `left_out` are not among them: a reply without it would teach that it never holds.
    """
    unchecked = not dialogue.plan.combination.has_checker
    turns = enumerate(zip(dialogue.plan.questions, dialogue.replies, strict=False), 1)
    return [
        turn
        for turn, (question, reply) in turns
        if (reply.follows or unchecked) and not any(_asks_for(each, question, reply.text) for each in left_out)
    ]


def _asks_for(constraint: Constraint, question: str, response: str) -> bool:
    """Return whether `question` puts `constraint` to the test, unless every question does or nothing can tell."""
    can_tell = bool(constraint.ask and constraint.checker)
    return can_tell and check(constraint, question, response) is not None


def draw_turns(
    usable: Sequence[Sequence[int]], num_turns: int, rng: random.Random, late_turn_weight: float = 1.0
) -> list[list[int]]:
    """Draw up to `num_turns` distinct turns from each of `usable` so that, over all, turns occur as evenly as possible.

    Dialogues with the fewest turns choose first; each takes the turns that are rarest so far, ties at random.

    Args:
        late_turn_weight: how often the latest turn is to occur for once of the first; in between, it grows evenly.
    """
    occurred: Counter[int] = Counter()
    latest = max((turn for turns in usable for turn in turns), default=1)

    def crowding(turn: int) -> float:
        return occurred[turn] / (1 + (late_turn_weight - 1) * (turn - 1) / max(1, latest - 1))

    drawn: list[list[int]] = [[] for _ in usable]
    for index in sorted(range(len(usable)), key=lambda index: len(usable[index])):
        shuffled = rng.sample(usable[index], len(usable[index]))
        drawn[index] = sorted(sorted(shuffled, key=crowding)[:num_turns])
        occurred.update(drawn[index])
    return drawn


def training_row(
    dialogue: Dialogue, turn: int, instruction_as: InstructionAs, train_on: Literal["last", "every"] = "last"
) -> dict[str, Any]:
    """Return the conversation that ends with the reply of `turn` (from 1), which trains, and its provenance.

    `train_on` "last" is the paper's: it alone trains. "every" trains the earlier usable replies too, although they were
    sampled with the instruction right before them: an ablation.
    """
    *earlier, last = dialogue.replies[:turn]
    trained = set(usable_turns(dialogue)) if train_on == "every" else set()
    before = context(dialogue.plan, [reply.text for reply in earlier], instruction_as)
    replies = [index for index, message in enumerate(before) if message.role == "assistant"]
    for number, index in enumerate(replies, 1):
        before[index] = replace(before[index], train=number in trained)
    messages = to_dicts([*before, Message("assistant", last.text, train=True)])
    return {"messages": messages, **dialogue.provenance(), "turn": turn, "score": last.score}
