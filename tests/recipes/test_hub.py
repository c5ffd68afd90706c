"""A chat checkpoint's card tells where it came from and what was measured; an upload carries that card and no paths."""

import json
from pathlib import Path

import pytest

from chat_model.errors import InputError
from recipes.hub.card import chat_card
from recipes.hub.lineage import base_model, lineage
from recipes.hub.push import push

GRADES = {"helpfulness": 75.5, "false_refusal": 1.4}
WIN_RATE = {"against": "sft", "win_rate": 0.8, "low": 0.77, "high": 0.83}


def write_run(folder: Path, stage: str, metrics=None, **arguments):
    folder.mkdir(parents=True)
    record = {"stage": stage, "arguments": arguments, "versions": {"torch": "2.13"}, "metrics": metrics or {}}
    (folder / "run.json").write_text(json.dumps(record))


@pytest.fixture
def root(tmp_path):
    """A run of two training stages and their evaluation."""
    root = tmp_path / "run"
    write_run(
        root / "sft", "sft", model_name_or_path="org/base-1b", dataset_name=["org/chats", str(tmp_path / "a.jsonl")]
    )
    write_run(root / "V1" / "ppo", "rlhf.ppo", model_name_or_path=str(root / "sft"), learning_rate=1e-6)
    (root / "V1" / "ppo" / "model.safetensors").touch()
    metrics = {"checkpoints": {"sft": {}, "V1": GRADES}, "win_rates": {"V1": WIN_RATE}}
    checkpoints = [str(root / "sft"), str(root / "V1" / "ppo")]
    write_run(root / "evaluation", "rlhf.evaluate", metrics, names=["sft", "V1"], checkpoints=checkpoints)
    return root


def test_the_card_tells_base_data_recipe_and_evaluation(root):
    card = chat_card(root / "V1" / "ppo", "me/chat")
    assert card.data.base_model == "org/base-1b"
    assert card.data.datasets == ["org/chats"]
    for told in ("| V1/ppo | `rlhf.ppo` |", "learning_rate: 1e-06", "| helpfulness | 75.50 |", "80.0 % (77.0 – 83.0)"):
        assert told in str(card)
    assert str(root.parent) not in str(card)


def test_a_moved_run_still_knows_its_stages(root, tmp_path):
    moved = root.rename(tmp_path / "elsewhere")
    assert [training.run["stage"] for training in lineage(moved / "V1" / "ppo")] == ["rlhf.ppo", "sft"]
    assert base_model(lineage(moved / "V1" / "ppo")) == "org/base-1b"
    assert "| helpfulness | 75.50 |" in str(chat_card(moved / "V1" / "ppo", "me/chat"))


def test_a_folder_of_no_stage_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no run.json"):
        chat_card(tmp_path, "me/chat")


class Hub:
    """What the hub's client was asked to do."""

    uploads: list = []

    def create_repo(self, repository, private, exist_ok):
        return f"hub/{repository}{' (private)' if private else ''}"

    def upload_folder(self, repo_id, folder_path, ignore_patterns):
        from huggingface_hub.utils import filter_repo_objects

        names = [file.name for file in Path(folder_path).iterdir()]
        self.uploads.append(sorted(filter_repo_objects(names, ignore_patterns=ignore_patterns)))

    def upload_file(self, path_or_fileobj, path_in_repo, repo_id):
        self.uploads.append((path_in_repo, Path(path_or_fileobj).read_text()))


def test_the_upload_has_weights_and_card_and_leaves_the_records_here(root, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "uploads", [])
    assert push(root / "V1" / "ppo", "me/chat") == "hub/me/chat (private)"
    weights, (name, card) = Hub.uploads
    assert weights == ["model.safetensors"]
    assert name == "README.md"
    assert "# me/chat" in card


def test_a_hub_that_cannot_be_reached_is_one_line(root, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"me/chat: the hub refused .*hf auth login"):
        push(root / "V1" / "ppo", "me/chat")


def test_a_folder_without_weights_is_refused(root):
    with pytest.raises(InputError, match="holds no weights"):
        push(root / "evaluation", "me/chat")
