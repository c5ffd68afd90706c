"""Files in and out: formats, faults that name file and line, and writes that are whole or not there at all."""

import gzip
import json

import pytest

from chat_model.errors import InputError
from chat_model.rows import read_conversations, read_rows, write_json, write_rows

ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "¿qué?"}]}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_jsonl_round_trip(tmp_path, name):
    assert write_rows(tmp_path / name, [ROW, ROW]) == 2
    assert list(read_rows(tmp_path / name)) == [(f"{tmp_path / name}:1", ROW), (f"{tmp_path / name}:2", ROW)]
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_parquet_and_datasets_folder(tmp_path):
    import datasets

    dataset = datasets.Dataset.from_list([ROW, ROW])
    dataset.to_parquet(tmp_path / "a.parquet")
    dataset.save_to_disk(tmp_path / "folder")
    datasets.DatasetDict({"train": dataset}).save_to_disk(tmp_path / "splits")
    for source in ("a.parquet", "folder", "splits"):
        rows = read_conversations(tmp_path / source)
        assert [row.to_row() for row in rows] == [ROW, ROW], source


def test_parquet_fault_names_the_row(tmp_path):
    import datasets

    bad = {"messages": [*ROW["messages"], {"role": "assistant", "content": "again"}]}
    datasets.Dataset.from_list([ROW, bad]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"^a.parquet:2: field 'messages\[2\].role'"):
        read_conversations(tmp_path / "a.parquet")


def test_not_json_names_the_line(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(ROW) + '\n\n{"messages": [\n')
    with pytest.raises(InputError, match=r"a.jsonl:3: not JSON \(.*\); expected one object a line"):
        read_conversations(tmp_path / "a.jsonl")


def test_json_that_is_no_object(tmp_path):
    (tmp_path / "a.jsonl").write_text("[1, 2]\n")
    with pytest.raises(InputError, match=r"a.jsonl:1: found list; expected a JSON object"):
        list(read_rows(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("name", ["missing.jsonl", "./missing", "some/deep/folder"])
def test_missing_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^{name}: no such file or folder$"):
        list(read_rows(name))


def test_unknown_hub_id_is_one_line(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: (_ for _ in ()).throw(OSError("not found\nmore")))
    with pytest.raises(InputError) as raised:
        list(read_rows("nobody/nothing"))
    assert str(raised.value) == "nobody/nothing: neither a file here nor a dataset that can be loaded (not found)"


def test_truncated_gzip(tmp_path):
    whole = gzip.compress((json.dumps(ROW) + "\n").encode() * 50)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="a.jsonl.gz: cannot be read as text"):
        list(read_rows(tmp_path / "a.jsonl.gz"))


def test_empty_file(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(InputError, match="found no rows"):
        read_conversations(tmp_path / "a.jsonl")


def test_interrupted_write_leaves_the_old_file_and_nothing_beside(tmp_path):
    write_rows(tmp_path / "a.jsonl", [{"old": 1}])

    def rows():
        yield {"new": 1}
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_rows(tmp_path / "a.jsonl", rows())
    assert [row for _, row in read_rows(tmp_path / "a.jsonl")] == [{"old": 1}]
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]


def test_unwritable_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"new": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
