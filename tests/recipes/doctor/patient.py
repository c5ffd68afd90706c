"""A small healthy recipe on a tiny model, and the means to plant one fault in it."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chat_model.check_up import CheckUp
from recipes.doctor.examine import examine
from recipes.planner.devices import GIB, Device
from recipes.recipe import read_recipe

ROOMY = Device("a roomy device", 64 * GIB)


def user(text: str) -> dict[str, str]:
    """Return a message of the user's."""
    return {"role": "user", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    """Return a message of the assistant's."""
    return {"role": "assistant", "content": text, **more}


def conversations(count: int = 12) -> list[dict[str, Any]]:
    """Return dialogues of two turns."""
    questions = [user("what color is the fox?"), assistant("the fox is red."), user("where does the owl live?")]
    return [{"messages": [*questions, assistant(f"the owl lives in forest {number}.")]} for number in range(count)]


def prompts(count: int = 8, first: int = 0) -> list[dict[str, Any]]:
    """Return prompts of different lengths, every other one for safety."""
    numbers = range(first, first + count)
    return [{"prompt": [user(f"what is fox {'red ' * n} {n}?")], "is_safety": n % 2 == 0} for n in numbers]


def pairs(count: int = 12) -> list[dict[str, Any]]:
    """Return rated pairs with safety labels, of both domains."""
    return [
        {
            "prompt": [user(f"how do i make {number}?")],
            "chosen": [assistant("i cannot help you with that.")],
            "rejected": [assistant("the fox is red.")],
            "rating": "better",
            "domain": ("safety", "helpfulness")[number % 2],
            "chosen_safe": True,
            "rejected_safe": number % 4 == 0,
        }
        for number in range(count)
    ]


def judge(prompt: list[dict[str, Any]], response: str) -> dict[str, float]:
    """Grade a response; a recipe names it by its dotted name."""
    return {"helpfulness": float(bool(response))}


STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {"model_name_or_path": "{base}", "dataset_name": ["{data}/chats.jsonl"], "max_length": 256}),
    "preferences": (
        "rlhf.preferences",
        {"model_name_or_path": "{base}", "prompts": "{data}/prompts.jsonl", "annotator": "human", "max_new_tokens": 16},
    ),
    "reward": (
        "reward_model",
        {
            "model_name_or_path": "{base}",
            "preferences": ["{data}/pairs.jsonl"],
            "domain": "safety",
            "safety_loss_weight": 1.0,
            "margin": "small",
            "max_length": 256,
        },
    ),
    "best_of": (
        "rlhf.rejection_sampling",
        {
            "model_name_or_path": "{base}",
            "prompts": "{data}/prompts.jsonl",
            "helpfulness_reward_model": "{scalar}",
            "safety_reward_model": "{scalar}",
            "max_new_tokens": 16,
        },
    ),
    "ppo": (
        "rlhf.ppo",
        {
            "model_name_or_path": "{base}",
            "prompts": "{data}/prompts.jsonl",
            "held_out_prompts": "{data}/held_out.jsonl",
            "helpfulness_reward_model": "{scalar}",
            "safety_reward_model": "{scalar}",
            "batch_size": 8,
            "mini_batch_size": 4,
            "max_new_tokens": 16,
        },
    ),
    "evaluation": (
        "rlhf.evaluate",
        {
            "checkpoints": ["{base}"],
            "names": ["base"],
            "prompts": "{data}/prompts.jsonl",
            "judge": "tests.recipes.doctor.patient.judge",
            "max_new_tokens": 16,
        },
    ),
    "import": ("reward_model.importers", {"name": "trl_preference", "source": "{data}/trl.jsonl"}),
}


@dataclass
class Patient:
    """The recipe's folder, its data, its base model and its reward model."""

    folder: Path
    base: Path
    scalar: Path

    @classmethod
    def healthy(cls, folder: Path, base: Path, scalar: Path) -> "Patient":
        """Write a recipe in which nothing is wrong; `base` and `scalar` are copied."""
        patient = cls(folder, folder / "base", folder / "scalar")
        shutil.copytree(base, patient.base)
        shutil.copytree(scalar, patient.scalar)
        (patient.scalar / "calibration.json").write_text(
            json.dumps({"scale": 1.0, "offset": 0.0, "fitted_on": "safety_labels", "num_labels": 9})
        )
        patient.rows("chats", conversations())
        patient.rows("prompts", prompts())
        patient.rows("held_out", prompts(4, first=40))
        patient.rows("pairs", pairs())
        answers = {name: pairs()[0][name] for name in ("prompt", "chosen", "rejected")}
        patient.rows("trl", [{**answers, "prompt": [user(f"how {number}?")]} for number in range(40)])
        patient.write_recipe(*STAGES)
        for stage, (_, fields) in STAGES.items():
            (folder / f"{stage}.yaml").write_text(yaml.safe_dump(fields))
        return patient

    def write_recipe(self, *stages: str, **modules: str) -> None:
        """Let the recipe have these steps; `modules` replaces the module of some."""
        variables = {"base": str(self.base), "scalar": str(self.scalar), "data": str(self.folder)}
        steps = [
            {"name": stage, "module": modules.get(stage, STAGES[stage][0]), "config": f"{stage}.yaml"}
            for stage in stages
        ]
        recipe = {"name": "patient", "chain": "steps", "variables": variables, "steps": steps}
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    def rows(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write a data file."""
        (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def edit(self, stage: str, /, **fields: Any) -> None:
        """Change fields of a stage's YAML file."""
        file = self.folder / f"{stage}.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **fields}))

    def launch(self, tensor_parallel: int = 1, **fields: Any) -> None:
        """Start the recipe's steps through a launch config of two processes with these fields."""
        recipe, launch = self.folder / "recipe.yaml", self.folder / "launch.yaml"
        launch.write_text(yaml.safe_dump({"num_processes": 2, **fields}))
        launched = {"accelerate": str(launch), "tensor_parallel": tensor_parallel}
        recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), **launched}))

    def change(self, file: Path, **fields: Any) -> None:
        """Change fields of a JSON file of a checkpoint."""
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))

    def template(self, text: str) -> None:
        """Give the base model's tokenizer another chat template."""
        (self.base / "chat_template.jinja").write_text(text)

    def examine(self, device: Device = ROOMY) -> dict[str, CheckUp]:
        """Return the check-up of every step, and that of the recipe as a whole under ""."""
        return dict(examine(read_recipe(self.folder, self.folder / "out"), device))
