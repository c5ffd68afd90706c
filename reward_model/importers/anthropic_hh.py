"""Anthropic HH transcripts (``\\n\\nHuman: … \\n\\nAssistant: …``) to preference pairs.

A row holds two whole dialogues, `chosen` and `rejected`, that should differ in the last answer alone; the rows are as
crowd workers left them, so some do not. HH has no grades: the rating stays empty. Section 3.2.1, Table 6.
"""

import re
from typing import Any

from chat_model.conversation import Message, PreferencePair, Role, fault

_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_TURN = re.compile(r"\n\n(Human|Assistant):")


class Unusable(ValueError):
    """A row that is no preference pair; the message is the reason it is counted under."""


def parse_transcript(text: str) -> tuple[Message, ...]:
    """Return the messages of a transcript, contents stripped.

    Raises:
        Unusable: text before the first turn, an empty message, roles out of order, or no answer at the end.
    """
    before, *parts = _TURN.split(text)
    if before.strip() or not parts:
        raise Unusable("not a transcript")
    messages = tuple(
        Message(_ROLES[name], content.strip()) for name, content in zip(parts[::2], parts[1::2], strict=True)
    )
    if not all(message.content for message in messages):
        raise Unusable("empty message")
    if any(message.role != ("user", "assistant")[index % 2] for index, message in enumerate(messages)):
        raise Unusable("roles out of order")
    if messages[-1].role != "assistant":
        raise Unusable("no answer at the end")
    return messages


def to_pair(row: dict[str, Any], where: str, domain: str | None) -> PreferencePair:
    """Return the row as a preference pair of `domain`.

    Raises:
        Unusable: either transcript is unusable, the prompts differ, or the answers do not.
        InputError: the row has no text in `chosen` or `rejected`.
    """
    for name in ("chosen", "rejected"):
        if not isinstance(row.get(name), str):
            raise fault(where, name, row.get(name), "a transcript of '\\n\\nHuman:' and '\\n\\nAssistant:' turns")
    chosen, rejected = parse_transcript(row["chosen"]), parse_transcript(row["rejected"])
    if chosen[:-1] != rejected[:-1]:
        raise Unusable("different prompts")
    if chosen[-1] == rejected[-1]:
        raise Unusable("identical answers")
    return PreferencePair(chosen[:-1], chosen[-1:], rejected[-1:], domain=domain, source="anthropic_hh")
