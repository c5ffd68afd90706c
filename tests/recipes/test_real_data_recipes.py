"""The recipes on real data: their YAML resolves to the right steps, and hh_rlhf runs whole on made-up transcripts."""

import json

import pytest
from typer.testing import CliRunner

from chat_model.config import check_keys
from recipes.chain import steps_of
from recipes.cli import main
from recipes.recipe import read_recipe

SMALLEST = "tiny:hidden_size=32,intermediate_size=64,num_hidden_layers=1,num_attention_heads=2,num_key_value_heads=1"


@pytest.mark.parametrize("name", ["hh_rlhf", "gsm8k"])
def test_steps_read_what_the_steps_before_wrote(name, tmp_path):
    steps = {step.name: step for step in steps_of(read_recipe(name, tmp_path, ["data=rows.jsonl", "model=a/model"]))}
    assert steps["import"].arguments["source"] == "rows.jsonl"
    assert steps["sft"].arguments["model_name_or_path"] == "a/model"
    assert steps["sft"].arguments["dataset_name"] == [str(tmp_path / "import" / "conversations_train.jsonl")]
    if name == "hh_rlhf":
        reward_model = steps["reward_model"].arguments
        assert reward_model["model_name_or_path"] == str(tmp_path / "sft")
        assert reward_model["preferences"] == [str(tmp_path / "import" / "train.jsonl")]
        assert reward_model["test_preferences"] == [str(tmp_path / "import" / "test.jsonl")]


@pytest.mark.parametrize("name", ["hh_rlhf", "gsm8k"])
def test_every_field_is_one_its_stage_knows(name, tmp_path):
    from dataclasses import fields

    from trl import ModelConfig, RewardConfig, SFTConfig

    from reward_model.arguments import RewardModelArguments
    from reward_model.importers.importing import ImportArguments
    from sft.train import SFTArguments

    configs = {
        "reward_model.importers": (ImportArguments,),
        "sft": (SFTArguments, SFTConfig, ModelConfig),
        "reward_model": (RewardModelArguments, RewardConfig, ModelConfig),
    }
    for step in steps_of(read_recipe(name, tmp_path)):
        known = {field.name for config in configs[step.module] for field in fields(config)}
        check_keys(step.arguments, known, step.name)


@pytest.mark.slow
def test_hh_runs_whole_from_transcripts_to_test_accuracy(tmp_path):
    rows = [
        {"chosen": f"\n\nHuman: q {i}\n\nAssistant: yes {i}", "rejected": f"\n\nHuman: q {i}\n\nAssistant: no"}
        for i in range(60)
    ]
    data = tmp_path / "hh.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"chosen": "x", "rejected": "y"}]))
    command = [
        "run",
        "hh_rlhf",
        "--output",
        str(tmp_path / "out"),
        "--set",
        f"data={data}",
        "--set",
        f"model={SMALLEST}",
    ]
    result = CliRunner().invoke(main, [*command, "--set", "sft.vocab_size=300"])
    assert result.exit_code == 0, result.output
    records = {
        name: json.loads((tmp_path / "out" / name / "run.json").read_text())
        for name in ("import", "sft", "reward_model")
    }
    assert records["import"]["counts"]["dropped"] == {"not a transcript": 1}
    assert records["sft"]["metrics"]["held_out_loss"] > 0
    assert records["reward_model"]["metrics"]["accuracy"]["all"]["count"] == records["import"]["counts"]["test"]
