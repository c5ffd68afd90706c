"""Rows to tokens and labels, and the account of what was cut or dropped."""

import json

import pytest

from chat_model.conversation import Conversation, Message
from chat_model.errors import InputError
from chat_model.template import render
from sft.data import IGNORED, PlainText, read_documents, tokenize


def dialogue(question, answer, train=None):
    return Conversation((Message("user", question), Message("assistant", answer, train)))


def test_labels_are_the_rendered_mask(tiny_tokenizer):
    conversation = dialogue("what color is the fox?", "the fox is red.")
    row = tokenize(tiny_tokenizer, [conversation], 100).rows[0]
    rendered = render(tiny_tokenizer, conversation.messages)
    assert row["input_ids"] == rendered.token_ids
    assert [label != IGNORED for label in row["labels"]] == rendered.loss_mask
    assert [label for label in row["labels"] if label != IGNORED][-1] == tiny_tokenizer.eos_token_id


def test_plain_text_trains_every_token_and_ends(tiny_tokenizer):
    row = tokenize(tiny_tokenizer, [PlainText("the fox is red.")], 100).rows[0]
    assert row["labels"] == row["input_ids"]
    assert row["input_ids"][0] == tiny_tokenizer.bos_token_id and row["input_ids"][-1] == tiny_tokenizer.eos_token_id


def test_truncated_and_dropped_rows_are_counted(tiny_tokenizer):
    short, long_answer, long_prompt = dialogue("hi", "the"), dialogue("hi", "fox " * 30), dialogue("fox " * 30, "hi")
    tokenized = tokenize(tiny_tokenizer, [short, long_answer, long_prompt], 20)
    report = tokenized.report()
    assert (report["rows_read"], report["rows_kept"], report["rows_truncated"]) == (3, 2, 2)
    assert report["rows_dropped_prompt_fills_max_length"] == 1
    assert report["length_longest"] == 20
    assert report["tokens_with_loss"] == sum(label != IGNORED for row in tokenized.rows for label in row["labels"])


def test_max_length_shorter_than_every_prompt_is_refused(tiny_tokenizer):
    with pytest.raises(InputError, match="max_length=5: none of 1 rows"):
        tokenize(tiny_tokenizer, [dialogue("what color is the fox, tell me?", "red")], 5)


def test_rows_without_messages_or_text_are_refused(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"words": "b"}) + "\n")
    with pytest.raises(
        InputError, match=r"rows.jsonl:2: field 'text': found None; expected text, or a column 'messages'"
    ):
        list(read_documents(str(file)))
