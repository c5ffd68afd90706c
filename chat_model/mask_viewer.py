"""Print a conversation with the tokens that get loss in colour: the quickest check of what training trains."""

from typing import Any

from rich.console import Console
from rich.text import Text

from chat_model.errors import InputError
from chat_model.loading import load_tokenizer
from chat_model.rows import read_conversations
from chat_model.template import Rendered, render


def show_mask(file: str, model: str, row: int = 0, console: Console | None = None) -> None:
    """Print row number `row` (from 0) of a conversations file as `model`'s tokenizer sees it.

    Raises:
        InputError: a row that the file does not have, or a bad file.
    """
    conversations = read_conversations(file)
    if not 0 <= row < len(conversations):
        raise InputError(f"{file}: has rows 0 to {len(conversations) - 1}; found --row {row}")
    tokenizer = load_tokenizer(model)
    rendered = render(tokenizer, conversations[row].messages)
    console = console or Console()
    console.print(coloured(tokenizer, rendered))
    trained = sum(rendered.loss_mask)
    console.print(f"\n{trained} of {len(rendered.token_ids)} tokens get loss", style="dim")


def coloured(tokenizer: Any, rendered: Rendered) -> Text:
    """Return the tokens side by side, those that get loss bold green, the others dim, special tokens underlined."""
    text = Text()
    for token_id, counts in zip(rendered.token_ids, rendered.loss_mask, strict=True):
        style = "bold green" if counts else "dim"
        style += " underline" if token_id in tokenizer.all_special_ids else ""
        text.append(tokenizer.decode([token_id]), style=style)
    return text
