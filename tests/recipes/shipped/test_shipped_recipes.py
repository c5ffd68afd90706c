"""Every recipe of a real model runs from its first step to its last, as shipped, on a tiny model of its architecture.

What is replaced: the model, the data and the judge, by the recipe's variables; the launch config; and what stands in
`SMALLER` of conftest.py. Two recipes that start a stage with the same arguments run it once.
"""

import importlib
import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from chat_model.errors import InputError
from chat_model.rows import read_rows
from recipes.chain import steps_of
from recipes.cli import main
from recipes.planner.devices import find_device
from recipes.planner.estimate import estimate
from recipes.recipe import read_recipe

# What real models make the stages say: Llama 2 has no pad token, so one is added and the embeddings grow.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the tokenizer has no pad token of its own"),
    pytest.mark.filterwarnings("ignore:embeddings grown from"),
]

RECIPES = ("llama2_7b", "llama2_7b_one_gpu", "llama2_13b", "llama2_70b", "llama2_distilled", "small_modern")


@pytest.fixture(scope="module")
def dry_run(write_smaller):
    """A function that runs every step of a recipe and returns the `run.json` of each, by name."""
    finished: dict[tuple, tuple[Path, Path]] = {}  # root and folder of the step that ran

    def run(name: str, root: Path, model: str, settings: list[str]) -> dict[str, dict]:
        records = {}
        for step in steps_of(read_recipe(name, root, ["accelerate=null", *settings])):
            config = write_smaller(step, root / "configs")
            key = (model, step.module, config.read_text().replace(str(root), ""))
            if key in finished:
                take_over(*finished[key], root, step.output)
            else:
                importlib.import_module(f"{step.module}.__main__").main(["--config", str(config)])
                finished[key] = (root, step.output)
            records[step.name] = json.loads((step.output / "run.json").read_text())
        return records

    return run


def take_over(theirs: Path, folder: Path, ours: Path, output: Path) -> None:
    """Copy a step's folder from one recipe's root to another's; adapters name their base by its path."""
    shutil.copytree(folder, output)
    for file in output.rglob("adapter_config.json"):
        file.write_text(file.read_text().replace(str(theirs), str(ours)))


def check_steps_taken(records: dict[str, dict], root: Path) -> None:
    """Two steps of every trainer and two iterations of PPO, no more and no fewer."""
    trained = [name for name, record in records.items() if record["stage"] in ("sft", "reward_model")]
    assert trained
    for name in trained:
        assert max(row["step"] for _, row in read_rows(root / name / "metrics.jsonl")) == 2, name
    assert [record["metrics"]["iterations"] for record in records.values() if record["stage"] == "rlhf.ppo"] == [2]


@pytest.mark.slow
def test_llama2_trained_whole(tiny_llama2, hub, dry_run, tmp_path):
    records = dry_run("llama2_7b", tmp_path, tiny_llama2, [f"model={tiny_llama2}", *hub])
    check_steps_taken(records, tmp_path)
    assert records["sft"]["config"]["chat_template"] == "llama2"  # a base model has none of its own
    sampled = records["RLHF-V2/preferences"]["counts"]
    assert sampled["pairs"] and not sampled["judge_unreadable"]
    assert records["evaluation"]["counts"]["safety_prompts"] > 0
    assert set(records["evaluation"]["metrics"]["win_rates"]) == {"RLHF-V1", "RLHF-V2", "GAtt"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama2_7b_one_gpu", "llama2_13b"])
def test_llama2_as_adapters_of_one_base(name, tiny_llama2, hub, dry_run, tmp_path):
    """PPO goes on from the fine-tuning's adapter, on the base that this round's reward models were trained on."""
    records = dry_run(name, tmp_path, tiny_llama2, [f"model={tiny_llama2}", *hub])
    check_steps_taken(records, tmp_path)
    ppo = records["RLHF-V2/ppo"]["arguments"]
    newest = str(tmp_path / "RLHF-V1" / "policy")
    assert ppo["layout"] == "shared_base" and ppo["model_name_or_path"] == newest
    assert ppo["policy_adapter"] == str(tmp_path / "RLHF-V2" / "policy")
    for name in ("policy_adapter", "helpfulness_reward_model", "safety_reward_model"):
        saved = json.loads((Path(ppo[name]) / "adapter" / "adapter_config.json").read_text())
        assert saved["base_model_name_or_path"] == newest, name


@pytest.mark.slow
def test_small_modern_has_the_template_that_its_model_brings(tiny_qwen3, hub, dry_run, tmp_path):
    records = dry_run("small_modern", tmp_path, tiny_qwen3, [f"model={tiny_qwen3}", *hub])
    check_steps_taken(records, tmp_path)
    template = (tmp_path / "RLHF-V2" / "ppo" / "chat_template.jinja").read_text()
    assert "<|im_start|>" in template and "[INST]" not in template


@pytest.mark.slow
def test_distilled_students_learn_from_the_large_models_conversations(tiny_llama2, dry_run, tmp_path):
    row = {"messages": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "a."}]}
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "conversations.jsonl").write_text((json.dumps(row) + "\n") * 8)
    models = [f"model_{size}={tiny_llama2}" for size in ("7b", "13b")]
    settings = [f"samples={tmp_path / 'samples'}", *models]
    records = dry_run("llama2_distilled", tmp_path / "out", tiny_llama2, settings)
    assert [record["counts"]["train"]["rows_kept"] for record in records.values()] == [8, 8]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # bitsandbytes compiles by torch.jit when it is imported
@pytest.mark.parametrize("name", ["llama2_7b_one_gpu", "llama2_70b"])
def test_llama2_as_adapters_of_a_base_in_four_bits(name, wide_llama2, hub, dry_run, tmp_path):
    """QLoRA in every stage that trains; what each leaves is whole, for sampling and for the next one's base."""
    pytest.importorskip("bitsandbytes")
    settings = ["four_bits=true", "tensor_parallel=1", f"model={wide_llama2}", *hub]
    check_steps_taken(dry_run(name, tmp_path, wide_llama2, settings), tmp_path)
    for name in ("sft", "RLHF-V2/safety_reward_model", "RLHF-V2/ppo", "gatt/policy"):
        assert "quantization_config" not in json.loads((tmp_path / name / "config.json").read_text()), name


@pytest.mark.parametrize("name", ["llama2_7b_one_gpu", "llama2_70b", "small_modern"])
def test_four_bits_reach_every_stage_that_trains(name, tmp_path):
    steps = steps_of(read_recipe(name, tmp_path, ["accelerate=null", "tensor_parallel=1", "four_bits=true"]))
    trained = [step for step in steps if step.module in ("sft", "reward_model", "rlhf.ppo")]
    assert len(trained) > 5 and all(step.arguments["load_in_4bit"] is True for step in trained)


def test_four_bits_without_bitsandbytes_are_refused_before_the_data_is_read(tiny_llama2, tmp_path, monkeypatch):
    monkeypatch.setattr("chat_model.lora_training.is_bitsandbytes_available", lambda: False)
    words = ["--dataset_name", "nowhere.jsonl", "--load_in_4bit", "true", "--use_peft", "true"]
    with pytest.raises(InputError, match="load_in_4bit: needs the package bitsandbytes"):
        importlib.import_module("sft.__main__").main(
            [*words, "--model_name_or_path", tiny_llama2, "--output_dir", str(tmp_path / "out")]
        )


@pytest.mark.parametrize("name", RECIPES)
def test_rounds_plan_shows_the_command_of_every_step(name, tmp_path):
    """As shipped, launch config included: nothing is replaced."""
    result = CliRunner().invoke(main, ["plan", name, "--output", str(tmp_path)], env={"COLUMNS": "400"})
    assert result.exit_code == 0, result.output
    steps = steps_of(read_recipe(name, tmp_path))
    assert [step.name for step in steps if f"{step.name}.yaml" not in result.output] == []


# Section 3.1, 3.2.2 and 3.2.3 of the paper, as the summary of it that this project was founded on has them.
SFT = {"learning_rate": 2e-5, "lr_scheduler_type": "cosine", "weight_decay": 0.1, "num_train_epochs": 2}
REWARD_MODEL = {"weight_decay": 0.1, "num_train_epochs": 1, "warmup_steps": 0.03, "margin": "small"}
PPO = {"batch_size": 512, "num_epochs": 1, "clip_range": 0.2, "learning_rate": 1e-6, "weight_decay": 0.1}
PPO |= {"adam_beta1": 0.9, "adam_beta2": 0.95, "adam_epsilon": 1e-5, "max_grad_norm": 1.0, "safety_threshold": 0.15}


def test_hyper_parameters_are_the_papers(tmp_path):
    steps = arguments_of("llama2_7b", tmp_path)
    assert SFT.items() <= steps["sft"].items() and steps["sft"]["max_length"] == 4096
    for domain in ("helpfulness", "safety"):
        reward_model = steps[f"RLHF-V1/{domain}_reward_model"]
        assert REWARD_MODEL.items() <= reward_model.items() and reward_model["learning_rate"] == 1e-5
        assert reward_model["lr_scheduler_kwargs"] == {"min_lr_rate": 0.1} and reward_model["mixture"] == domain
    ppo = steps["RLHF-V2/ppo"]
    assert PPO.items() <= ppo.items() and ppo["kl_coefficient"] == 0.01 and ppo["mini_batch_size"] == 64
    assert 200 <= ppo["num_iterations"] <= 400


@pytest.mark.parametrize("name", ["llama2_7b", "llama2_7b_one_gpu", "llama2_13b", "llama2_70b", "llama2_distilled"])
def test_a_step_takes_64_sequences_on_the_processes_of_the_launch_config(name, tmp_path):
    recipe = read_recipe(name, tmp_path)
    processes = yaml.safe_load(recipe.accelerate.read_text())["num_processes"]
    tuned = [step.arguments for step in steps_of(recipe) if step.module == "sft"]
    sizes = {each["per_device_train_batch_size"] * each["gradient_accumulation_steps"] * processes for each in tuned}
    assert sizes == {64}


# From 70B on, reward models take half the rate (section 3.2.2), and beta is half as large (section 3.2.3).
@pytest.mark.parametrize(("name", "reward_rate", "beta"), [("llama2_13b", 1e-5, 0.01), ("llama2_70b", 5e-6, 0.005)])
def test_adapters_take_ten_times_the_rate_and_all_else_of_the_paper(name, reward_rate, beta, tmp_path):
    adapters = arguments_of(name, tmp_path)
    rates = {"sft": 2e-5, "RLHF-V2/ppo": 1e-6}
    rates |= {f"RLHF-V1/{domain}_reward_model": reward_rate for domain in ("helpfulness", "safety")}
    for step, rate in rates.items():
        assert adapters[step]["learning_rate"] == pytest.approx(10 * rate), step
    ppo = adapters["RLHF-V2/ppo"]
    assert (ppo["kl_coefficient"], ppo["batch_size"], ppo["mini_batch_size"]) == (beta, 512, 64)


def test_every_stage_of_70b_is_planned_to_fit_80_gb(tmp_path):
    widths = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "vocab_size": 32000}
    heads = {"num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings": 4096}
    (tmp_path / "70b").mkdir()
    (tmp_path / "70b" / "config.json").write_text(json.dumps({"model_type": "llama", **widths, **heads}))
    recipe, device = read_recipe("llama2_70b", tmp_path, [f"model={tmp_path / '70b'}"]), find_device("H100")
    plans = {step.name: estimate(step, recipe, device) for step in steps_of(recipe)}
    assert [name for name, plan in plans.items() if not plan.fits(device)] == []
    assert len([plan for plan in plans.values() if plan.memory]) > 15


def test_training_and_test_of_adherence_have_no_constraint_in_common(tmp_path):
    steps = arguments_of("llama2_7b", tmp_path)
    files = (steps["gatt/dialogues"]["constraints"], steps["gatt/adherence_after"]["constraints"])
    trained, tested = (
        {(row["kind"], row["value"]) for row in yaml.safe_load(Path(file).read_text())} for file in files
    )
    assert trained and tested and not trained & tested


def arguments_of(name: str, root: Path) -> dict[str, dict]:
    """Return the arguments of every step of a recipe as shipped, by name."""
    return {step.name: step.arguments for step in steps_of(read_recipe(name, root))}
