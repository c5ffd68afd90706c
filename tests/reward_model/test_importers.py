"""HH transcripts and GSM8K rows, made up and real: what is kept, and why the rest is not."""

import json

import pytest

from chat_model.errors import InputError
from chat_model.rows import read_conversations, read_preferences
from reward_model.importers import anthropic_hh, gsm8k
from reward_model.importers.__main__ import main

TWO_TURNS = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: a list?\n\nAssistant:"


def hh_row(chosen, rejected):
    return {"chosen": chosen, "rejected": rejected}


def test_transcript_becomes_a_pair_with_the_shared_turns_as_prompt():
    pair = anthropic_hh.to_pair(hh_row(f"{TWO_TURNS} one\n\ntwo ", f"{TWO_TURNS} no"), "f:1", "helpfulness")
    prompt = [(message.role, message.content) for message in pair.prompt]
    assert prompt == [("user", "hi"), ("assistant", "hello"), ("user", "a list?")]
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("one\n\ntwo", "no")
    assert (pair.domain, pair.rating, pair.source) == ("helpfulness", None, "anthropic_hh")


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("\n\nHuman: hi\n\nAssistant: a", "\n\nHuman: ho\n\nAssistant: b", "different prompts"),
        ("\n\nHuman: hi\n\nAssistant: a", f"{TWO_TURNS} b", "different prompts"),
        ("\n\nHuman: hi\n\nAssistant: a", "\n\nHuman: hi\n\nAssistant: a ", "identical answers"),
        ("\n\nHuman: hi\n\nAssistant: ", "\n\nHuman: hi\n\nAssistant: a", "empty message"),
        ("\n\nHuman: hi\n\nHuman: ho\n\nAssistant: a", "\n\nHuman: hi\n\nAssistant: b", "roles out of order"),
        ("\n\nAssistant: a", "\n\nAssistant: b", "roles out of order"),
        ("\n\nHuman: hi", "\n\nHuman: hi\n\nAssistant: b", "no answer at the end"),
        ("hi there", "\n\nHuman: hi\n\nAssistant: b", "not a transcript"),
        ("", "\n\nHuman: hi\n\nAssistant: b", "not a transcript"),
    ],
)
def test_unusable_transcripts_say_why(chosen, rejected, reason):
    with pytest.raises(anthropic_hh.Unusable, match=reason):
        anthropic_hh.to_pair(hh_row(chosen, rejected), "f:1", None)


def test_row_of_another_schema_is_an_input_error():
    with pytest.raises(InputError, match="f:7: field 'rejected': found None"):
        anthropic_hh.to_pair({"chosen": "\n\nHuman: hi\n\nAssistant: a"}, "f:7", None)


def test_gsm8k_loses_its_calculator_marks_only():
    row = {"question": "half of 48?", "answer": "It is 48/2 = <<48/2=24>>24, so 24 < 25.\n#### 24"}
    assert gsm8k.to_conversation(row, "f:1").messages[1].content == "It is 48/2 = 24, so 24 < 25.\n#### 24"
    with pytest.raises(InputError, match="f:2: field 'messages\\[1\\].content': found None"):
        gsm8k.to_conversation({"question": "half of 48?"}, "f:2")


def test_import_counts_every_drop(tmp_path):
    usable = [hh_row(f"\n\nHuman: q{i}\n\nAssistant: a", f"\n\nHuman: q{i}\n\nAssistant: b") for i in range(40)]
    bad = [hh_row("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: other\n\nAssistant: a")] * 3
    source = tmp_path / "hh.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in usable + bad))
    output = tmp_path / "out"
    main(["--name", "anthropic_hh", "--source", str(source), "--output_dir", str(output), "--domain", "helpfulness"])
    counts = json.loads((output / "run.json").read_text())["counts"]
    assert (counts["read"], counts["kept"], counts["dropped"]) == (43, 40, {"different prompts": 3})
    assert counts["train"] + counts["test"] == 40 and counts["test"] > 0
    train, test = (read_preferences(output / f"{side}.jsonl") for side in ("train", "test"))
    assert not {pair.prompt for pair in train} & {pair.prompt for pair in test}
    chosen = [pair.prompt + pair.chosen for pair in train]
    assert [one.messages for one in read_conversations(output / "conversations_train.jsonl")] == chosen


def test_nothing_usable_is_an_input_error_and_leaves_nothing(tmp_path):
    source = tmp_path / "hh.jsonl"
    source.write_text(json.dumps(hh_row("\n\nHuman: q", "\n\nHuman: q")) + "\n")
    with pytest.raises(InputError, match="no row for train among 0"):
        main(["--name", "anthropic_hh", "--source", str(source), "--output_dir", str(tmp_path / "out")])
    assert [path.name for path in tmp_path.iterdir()] == ["hh.jsonl"]


def test_real_hh_file(shared_data, tmp_path):
    source = shared_data / "hh_harmless_test.jsonl.gz"
    main(
        ["--name", "anthropic_hh", "--source", str(source), "--output_dir", str(tmp_path / "out"), "--domain", "safety"]
    )
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["counts"]
    assert (counts["read"], counts["kept"]) == (2312, 2299)
    assert counts["dropped"] == {"empty message": 4, "roles out of order": 9}


def test_real_gsm8k_file(shared_data, tmp_path):
    source = shared_data / "gsm8k_train_4000.jsonl.gz"
    main(["--name", "gsm8k", "--source", str(source), "--output_dir", str(tmp_path / "out")])
    conversations = read_conversations(tmp_path / "out" / "conversations_train.jsonl")
    assert len(conversations) + len(read_conversations(tmp_path / "out" / "conversations_test.jsonl")) == 4000
    assert all("####" in one.messages[1].content and "<<" not in one.messages[1].content for one in conversations)
