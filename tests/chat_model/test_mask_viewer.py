"""The viewer colours what the mask says."""

import pytest
from rich.console import Console

from chat_model.errors import InputError
from chat_model.mask_viewer import coloured, show_mask
from chat_model.rows import write_rows
from chat_model.template import render

ROW = {
    "messages": [
        {"role": "user", "content": "what color is the fox?"},
        {"role": "assistant", "content": "the fox is red."},
    ]
}


def test_trained_tokens_are_green(tiny_tokenizer):
    from chat_model.conversation import Conversation

    rendered = render(tiny_tokenizer, Conversation.from_row(ROW).messages)
    text = coloured(tiny_tokenizer, rendered)
    green = "".join(text.plain[span.start : span.end] for span in text.spans if "green" in str(span.style))
    assert green.strip() == "the fox is red.</s>"


def test_prints_a_row(tmp_path, tiny_checkpoint):
    write_rows(tmp_path / "a.jsonl", [ROW, ROW])
    console = Console(record=True, width=200)
    show_mask(str(tmp_path / "a.jsonl"), str(tiny_checkpoint), 1, console)
    printed = console.export_text()
    assert "[INST] what color is the fox?" in printed and "tokens get loss" in printed
    with pytest.raises(InputError, match="has rows 0 to 1; found --row 2"):
        show_mask(str(tmp_path / "a.jsonl"), str(tiny_checkpoint), 2, console)
