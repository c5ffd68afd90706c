"""Conversations and plain text become token ids and labels; what is cut or dropped on the way is counted.

A conversation trains on its assistant turns alone, the prompt's loss being zeroed out (section 3.1); a row with plain
text instead of messages trains on every token, which is how a base model is made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chat_model.conversation import Conversation, fault
from chat_model.errors import InputError
from chat_model.rows import read_rows
from chat_model.template import Rendered, render

IGNORED = -100  # the label of a token without loss, as torch's cross entropy has it


@dataclass(frozen=True)
class PlainText:
    """A document to train on whole."""

    text: str


@dataclass
class TokenizedRows:
    """Rows ready for `trl.SFTTrainer`, and the account of those that were read."""

    rows: list[dict[str, list[int]]] = field(default_factory=list)
    read: int = 0
    truncated: int = 0
    dropped_without_trained_token: int = 0

    def report(self) -> dict[str, Any]:
        """Return counts of rows and tokens and the lengths, for `run.json`."""
        lengths = sorted(len(row["input_ids"]) for row in self.rows)
        trained = sum(label != IGNORED for row in self.rows for label in row["labels"])
        return {
            "rows_read": self.read,
            "rows_kept": len(self.rows),
            "rows_truncated": self.truncated,
            "rows_dropped_prompt_fills_max_length": self.dropped_without_trained_token,
            "tokens": sum(lengths),
            "tokens_with_loss": trained,
            "length_median": lengths[len(lengths) // 2] if lengths else 0,
            "length_longest": lengths[-1] if lengths else 0,
        }


def read_documents(source: str, text_column: str = "text", stream: bool = False) -> Iterator[Conversation | PlainText]:
    """Yield the rows of `source`: conversations where there is a column `messages`, else plain text.

    Args:
        stream: read row by row, for those who want the first ones only.

    Raises:
        InputError: a row that has neither, or is malformed (names file, line and field).
    """
    for where, row in read_rows(source, stream=stream):
        if "messages" in row:
            yield Conversation.from_row(row, where)
        elif isinstance(row.get(text_column), str) and row[text_column].strip():
            yield PlainText(row[text_column])
        else:
            raise fault(where, text_column, row.get(text_column), "text, or a column 'messages'")


def tokenize(tokenizer: Any, documents: Sequence[Conversation | PlainText], max_length: int | None) -> TokenizedRows:
    """Return rows of ``input_ids`` and ``labels`` (−100 where there is no loss), cut at the end to `max_length` tokens.

    A row whose prompt alone fills `max_length` has nothing left to train on and is dropped and counted.

    Raises:
        InputError: when no row is left.
    """
    tokenized = TokenizedRows()
    for document in documents:
        rendered = _render(tokenizer, document)
        tokenized.read += 1
        token_ids, mask = rendered.token_ids[:max_length], rendered.loss_mask[:max_length]
        tokenized.truncated += len(token_ids) < len(rendered.token_ids)
        if any(mask):
            labels = [token if counts else IGNORED for token, counts in zip(token_ids, mask, strict=True)]
            tokenized.rows.append({"input_ids": token_ids, "labels": labels})
        else:
            tokenized.dropped_without_trained_token += 1
    if not tokenized.rows:
        raise InputError(
            f"max_length={max_length}: none of {tokenized.read} rows has a token to train on within it; every prompt "
            "is longer, or every answer has train: false"
        )
    return tokenized


def texts_of(documents: Sequence[Conversation | PlainText]) -> Iterator[str]:
    """Yield the text of every document, which a tiny model's tokenizer is trained on."""
    for document in documents:
        if isinstance(document, PlainText):
            yield document.text
        else:
            yield from (message.content for message in document.messages)


def _render(tokenizer: Any, document: Conversation | PlainText) -> Rendered:
    if isinstance(document, Conversation):
        return render(tokenizer, document.messages)
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    token_ids = begin + tokenizer(document.text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return Rendered(token_ids, [True] * len(token_ids))
