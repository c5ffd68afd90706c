"""Any dataset with TRL's column of conversations to conversations for supervised fine-tuning.

Schema: ``messages``, a list of ``{role, content}`` that ends with an answer; other fields are not read.
"""

from chat_model.conversation import Conversation
from reward_model.importers.source_row import HubDataset, Row, Unusable, dialogue_of

HUB = HubDataset("HuggingFaceH4/no_robots")


def to_conversation(row: Row, where: str) -> Conversation:
    """Return the row's conversation.

    Raises:
        Unusable: an empty message, roles out of order, or no answer at the end.
        InputError: a row of another schema.
    """
    messages = dialogue_of(row, "messages", where)
    if not messages or messages[-1].role != "assistant":
        raise Unusable("no answer at the end")
    return Conversation(messages)
