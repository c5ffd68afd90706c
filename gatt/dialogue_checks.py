"""Checks that GAtt's stages have in common: dialogues whose questions are asked, constraints, combinations of them."""

from collections.abc import Sequence

from chat_model.check_up import CheckUp, spread
from chat_model.conversation import Conversation
from chat_model.mask_viewer import coloured
from chat_model.rows import read_rows
from chat_model.template import render
from chat_model.template_checks import PREFIX_STABLE, check_template, stops_of
from gatt.constraints import read_combinations, read_constraints


def check_dialogues(
    check_up: CheckUp, dialogues: str, constraints: str, combinations: Sequence[str], model: str
) -> None:
    """Check what a GAtt stage reads, and how the model's template renders the dialogues."""
    with check_up.check(
        "constraints", "the stage would refuse them when its turn comes", "mend the entry that is named"
    ):
        known = read_constraints(constraints)
        for source in combinations:
            if place := check_up.locate(source):
                read_combinations(place, known)
    conversations = _read(check_up, dialogues)
    tokenizer = check_up.models.tokenizer(model) if conversations else None
    if tokenizer is None:
        check_up.waiting["template and masks"] = f"the tokenizer of {model}" if conversations else "its dialogues"
        return
    messages = [conversation.messages for conversation in conversations]
    check_template(check_up, tokenizer, messages, stops_of(str(check_up.models.checkpoint(model)), tokenizer))
    if not check_up.failed(PREFIX_STABLE):
        check_up.show(
            "a dialogue, whose questions are asked", (coloured(tokenizer, render(tokenizer, each)) for each in messages)
        )


def _read(check_up: CheckUp, source: str) -> list[Conversation]:
    conversations = check_up.read(
        source,
        lambda place: (Conversation.from_row(row, where) for where, row in read_rows(place, stream=True)),
        why="the stage would stop at this row",
        fix="mend the row: messages, with an answer at the end",
    )
    return spread(conversations)
