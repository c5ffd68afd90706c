"""The import stage: sources, counts, files, the split, and `rounds import` around it."""

import gzip
import importlib
import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from typer.testing import CliRunner

import reward_model.importers
from chat_model.errors import InputError
from chat_model.rows import read_conversations, read_preferences
from recipes import import_table
from recipes.cli import main as rounds
from reward_model.importers.__main__ import main
from reward_model.importers.importing import NAMES, ImportArguments
from reward_model.importers.source_row import HubDataset

NOT_IMPORTERS = {"checks", "__init__", "__main__", "importing", "source_row", "strength", "html_text"}


def gptj_rows(count=40):
    return [{"prompt": f"question {index}", "chosen": "good", "rejected": "bad"} for index in range(count)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run_import(name, source, output, *words):
    main(["--name", name, "--source", str(source), "--output_dir", str(output), *words])
    return json.loads((output / "run.json").read_text())["counts"]


def test_every_drop_is_counted_and_no_prompt_is_on_both_sides(tmp_path):
    bad = [{"prompt": "q", "chosen": "same", "rejected": "same "}] * 2 + [
        {"prompt": "q", "chosen": "", "rejected": "x"}
    ]
    source = write(tmp_path / "rows.jsonl", gptj_rows() + bad)
    counts = run_import("synthetic_gptj", source, tmp_path / "out")
    assert (counts["read"], counts["kept"], counts["pairs"]) == (43, 40, 40)
    assert counts["dropped"] == {"identical answers": 2, "empty chosen": 1}
    assert (counts["by_rating"], counts["by_domain"]) == ({"unrated": 40}, {"helpfulness": 40})
    train, test = (read_preferences(tmp_path / "out" / f"{side}.jsonl") for side in ("train", "test"))
    assert (len(train), len(test)) == (counts["train"], counts["test"])
    assert len(train) + len(test) == 40 and test
    assert not {pair.prompt for pair in train} & {pair.prompt for pair in test}
    chosen = [pair.prompt + pair.chosen for pair in train]
    assert [one.messages for one in read_conversations(tmp_path / "out" / "conversations_train.jsonl")] == chosen


def test_several_pairs_of_a_row_give_one_conversation_and_unsafe_replies_none(tmp_path):
    row = {"response_0": "take a pick", "response_1": "call someone", "better_response_id": 0, "safer_response_id": 1}
    row |= {"is_response_0_safe": False, "is_response_1_safe": True}
    agreeing = {**row, "better_response_id": 1}
    rows = [{"prompt": f"lock {index}", **(row if index % 2 else agreeing)} for index in range(30)]
    counts = run_import("pku_saferlhf", write(tmp_path / "rows.jsonl", rows), tmp_path / "out", "--test_share", "0")
    assert (counts["read"], counts["pairs"], counts["by_domain"]) == (30, 60, {"helpfulness": 30, "safety": 30})
    assert counts["conversations_train"] == 30 and counts["unsafe_replies_not_in_conversations"] == 15
    conversations = read_conversations(tmp_path / "out" / "conversations_train.jsonl")
    assert {one.messages[-1].content for one in conversations} == {"call someone"}


def test_every_kind_of_source_gives_the_same_files(tmp_path):
    rows = gptj_rows()
    sources = [tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.gz", tmp_path / "rows.parquet"]
    write(sources[0], rows)
    sources[1].write_bytes(gzip.compress(sources[0].read_bytes()))
    Dataset.from_list(rows).to_parquet(sources[2])
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(tmp_path / "saved")
    (tmp_path / "folder").mkdir()
    Dataset.from_list(rows).to_parquet(tmp_path / "folder" / "train-00000.parquet")
    sources += [tmp_path / "saved", tmp_path / "folder"]
    written = set()
    for number, source in enumerate(sources):
        run_import("synthetic_gptj", source, tmp_path / f"out{number}")
        written.add((tmp_path / f"out{number}" / "train.jsonl").read_text())
    assert len(written) == 1


@pytest.mark.parametrize(
    ("name", "source", "words", "expected"),
    [
        ("helpsteer3", "nvidia/HelpSteer3", [], {"split": "train", "name": "preference"}),
        ("ultrafeedback", "HuggingFaceH4/ultrafeedback_binarized", [], {"split": "train_prefs"}),
        ("ultrafeedback", "someone/ultrafeedback", [], {"split": "train"}),
        (
            "anthropic_hh",
            "Anthropic/hh-rlhf",
            ["--data_dir", "x", "--split", "test"],
            {"split": "test", "data_dir": "x"},
        ),
        (
            "openai_summarize",
            "openai/summarize_from_feedback",
            ["--revision", "r", "--subset", "s"],
            {"split": "train", "name": "s", "data_dir": "comparisons", "revision": "r"},
        ),
    ],
)
def test_hub_id_is_streamed_from_the_datasets_own_place(monkeypatch, tmp_path, name, source, words, expected):
    calls = []

    def load_dataset(*names, **options):
        calls.append((*names, options))
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(InputError, match=f"^{source}: .* \\(no network\\)"):
        run_import(name, source, tmp_path / "out", *words)
    assert calls == [(source, {"streaming": True, **expected})]


def test_mixed_schemas_in_one_file_are_an_input_error_that_names_the_line(tmp_path):
    source = write(tmp_path / "rows.jsonl", [*gptj_rows(2), {"messages": []}])
    with pytest.raises(InputError, match=r"rows.jsonl:3: no field 'prompt'; found messages"):
        run_import("synthetic_gptj", source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        (
            [{"prompt": "q", "chosen": "a", "rejected": "a"}],
            [],
            "no row for train among 0 usable of 1; dropped: identical",
        ),
        (gptj_rows(1), [], "no row for test among 1 usable of 1; dropped: none"),
        ([], [], "no row for train among 0 usable of 0"),
        (gptj_rows(), ["--test_share", "1"], "test_share: found 1.0; expected at least 0 and below 1"),
        (gptj_rows(), ["--split", "x", "--splt", "y"], "unknown key 'splt'"),
    ],
)
def test_import_refuses_and_leaves_nothing(tmp_path, rows, words, message):
    source = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match=message):
        run_import("synthetic_gptj", source, tmp_path / "out", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_unknown_split_of_a_folder_is_suggested(tmp_path):
    DatasetDict({"train_prefs": Dataset.from_list(gptj_rows(2))}).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match="no split 'train_pref' .did you mean 'train_prefs'"):
        run_import("synthetic_gptj", tmp_path / "saved", tmp_path / "out", "--split", "train_pref")


def test_domain_is_for_pairs_whose_set_does_not_say(tmp_path):
    rows = [{"prompt": f"question {index}", "chosen": "a", "rejected": "b"} for index in range(3)]
    rows[0]["domain"] = "helpfulness"
    words = ["--domain", "safety", "--test_share", "0"]
    counts = run_import("trl_preference", write(tmp_path / "rows.jsonl", rows), tmp_path / "out", *words)
    assert counts["by_domain"] == {"helpfulness": 1, "safety": 2}


def test_names_are_the_modules_that_import():
    folder = Path(reward_model.importers.__file__).parent
    assert set(NAMES) == {file.stem for file in folder.glob("*.py")} - NOT_IMPORTERS
    assert import_table.NAMES.split(", ") == list(NAMES)
    modules = [importlib.import_module(f"reward_model.importers.{name}") for name in NAMES]
    assert all(isinstance(module.HUB, HubDataset) for module in modules)
    table = (folder / "README.md").read_text()
    rows = [f"| `{name}` | `{module.HUB.id}` |" for name, module in zip(NAMES, modules, strict=True)]
    assert [row for row in rows if row not in table] == []


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match="unknown dataset 'helpstear2' .did you mean 'helpsteer2'"):
        ImportArguments("helpstear2", "x", "y")


def test_rounds_import_shows_what_was_counted(tmp_path):
    source = write(tmp_path / "rows.jsonl", [*gptj_rows(), {"prompt": "q", "chosen": "a", "rejected": "a"}])
    result = CliRunner().invoke(
        rounds, ["import", "synthetic_gptj", source, str(tmp_path / "out"), "--test-share", "0.2"]
    )
    assert result.exit_code == 0, result.output
    cells = {tuple(cell.strip() for cell in line.split("│")[1:3]) for line in result.output.splitlines() if "│" in line}
    assert {("read", "41"), ("dropped: identical answers", "1"), ("rating: unrated", "40")} <= cells
    assert {("domain: helpfulness", "40"), ("pairs", "40")} <= cells
    assert json.loads((tmp_path / "out" / "run.json").read_text())["config"]["test_share"] == 0.2


def test_rounds_import_of_an_unknown_name_is_one_line_and_exit_code_2(tmp_path):
    result = CliRunner().invoke(rounds, ["import", "anthropic", "x.jsonl", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "unknown dataset 'anthropic' (did you mean 'anthropic_hh'?)" in result.stderr.strip().splitlines()[-1]


def test_rounds_import_help_lists_every_name():
    output = CliRunner().invoke(rounds, ["import", "--help"], env={"COLUMNS": "200"}).output
    assert [name for name in NAMES if name not in output] == []
