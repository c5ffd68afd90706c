"""Every recipe of a real model runs from its first step to its last, as shipped, on a tiny model of the same architecture.

What is replaced stands in `SMALLER`, in the model and data variables, and in the launch config. Two recipes that start a
stage with the same arguments run it once.
"""

import importlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from recipes.chain import steps_of
from recipes.recipe import read_recipe
from recipes.step import Step

# What real models make the stages say: Llama 2 has no pad token, so one is added and the embeddings grow.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the tokenizer has no pad token of its own"),
    pytest.mark.filterwarnings("ignore:embeddings grown from"),
]
LLAMA2 = ("llama2_7b", "llama2_7b_one_gpu", "llama2_13b", "llama2_70b")
# The count of steps and, for the CPU's sake, of prompts, samples and new tokens; nothing else of a recipe's YAML.
SMALLER = {
    "sft": {"max_steps": 2},
    "reward_model": {"max_steps": 2},
    "rlhf.preferences": {"num_prompts": 6, "max_new_tokens": 16},
    "rlhf.rejection_sampling": {"num_prompts": 6, "num_samples": 4, "max_new_tokens": 16},
    "rlhf.ppo": {"num_iterations": 2, "batch_size": 4, "mini_batch_size": 2, "max_new_tokens": 16},
    "gatt.synthesize": {"num_dialogues": 3, "max_turns": 2, "max_new_tokens": 16},
    "gatt.evaluate": {"num_dialogues": 2, "turns": [1, 2], "max_new_tokens": 16},
    "rlhf.evaluate": {"max_new_tokens": 16},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folders of steps that have run, by module and arguments."""
    return {}


@pytest.fixture
def judged(endpoint, monkeypatch):
    """The settings for a judge that is there: one that prefers the longer answer and finds everything safe."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def prefer_longer(body):
        first, second = map(len, endpoint.shown(body))
        return endpoint.verdict("a" if first > second else "b", safe_a=True, safe_b=True)

    endpoint.script = prefer_longer
    return [f"judge_url={endpoint.url}"]


def run(step: Step, root: Path, finished: dict) -> dict:
    """Run `step` in this process, unless another recipe has; return its `run.json`."""
    arguments = {**step.arguments, **SMALLER.get(step.module, {})}
    key = (step.module, json.dumps(arguments, sort_keys=True).replace(str(root), ""))
    if key in finished:
        shutil.copytree(finished[key], step.output)
    else:
        config = root / "configs" / f"{step.name}.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(yaml.safe_dump({**arguments, "output_dir": str(step.output)}))
        importlib.import_module(f"{step.module}.__main__").main(["--config", str(config)])
        finished[key] = step.output
    return json.loads((step.output / "run.json").read_text())


def dry_run(name: str, root: Path, settings: list[str], finished: dict) -> dict[str, dict]:
    """Run every step of a recipe and return each one's `run.json`."""
    steps = steps_of(read_recipe(name, root, ["accelerate=null", *settings]))
    return {step.name: run(step, root, finished) for step in steps}


def data_settings(open_data: dict[str, str]) -> list[str]:
    return [f"{name}={file}" for name, file in open_data.items()]


@pytest.mark.slow
@pytest.mark.parametrize("name", LLAMA2)
def test_llama2_runs_whole(name, tiny_llama2, open_data, judged, finished, tmp_path):
    records = dry_run(name, tmp_path, [f"model={tiny_llama2}", *data_settings(open_data), *judged], finished)
    assert records["RLHF-V2/ppo"]["metrics"]["iterations"] == 2


@pytest.mark.slow
def test_small_modern_runs_whole_with_the_template_that_its_model_brings(
    tiny_qwen3, open_data, judged, finished, tmp_path
):
    records = dry_run("small_modern", tmp_path, [f"model={tiny_qwen3}", *data_settings(open_data), *judged], finished)
    assert records["RLHF-V2/ppo"]["metrics"]["iterations"] == 2
