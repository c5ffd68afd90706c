"""Five rounds at their smallest: the chain of the quickstart with models of a few hundred weights and a dozen rows.

What comes out is nonsense. It is the same nonsense every time, and every stage takes part: two rounds' worth of shards,
checkpoints at every step of a trainer, PPO in the last round, Ghost Attention at the end.
"""

import shutil
from pathlib import Path

import pytest
import yaml

from recipes.recipe import PACKAGED

TINY = "tiny:hidden_size=16,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2,num_key_value_heads=1"
_TRAINER = {"num_train_epochs": 1, "save_strategy": "steps", "save_steps": 1, "logging_steps": 1}
_SAMPLES = {"num_prompts": 8, "num_samples": 2, "max_new_tokens": 6, "keep_cut_off": True, "prompts_per_shard": 4}
SMALLEST = {
    "world": {
        "num_base_documents": 24,
        "num_demonstrations": 24,
        "num_instructed": 4,
        "num_prompts_train": 32,
        "num_prompts_test": 8,
        "num_dialogues_train": 8,
        "num_dialogues_test": 4,
    },
    "base": {"model_name_or_path": TINY, **_TRAINER},
    "sft": _TRAINER,
    "helpfulness_reward_model": _TRAINER,
    "safety_reward_model": _TRAINER,
    "rejection_sampling_sft": _TRAINER,
    "gatt_sft": _TRAINER,
    "preferences": {"max_new_tokens": 6},
    "rejection_sampling": _SAMPLES,
    "gatt_rehearsal": _SAMPLES,
    "ppo": {"num_iterations": 2, "batch_size": 8, "mini_batch_size": 4, "max_new_tokens": 6, "save_every": 1},
    "gatt": {"num_dialogues": 8, "max_turns": 2, "prefixes_per_dialogue": 2, "max_new_tokens": 24},
    "adherence": {"num_dialogues": 4, "max_new_tokens": 6, "turns": [1, 2]},
    "evaluation": {"max_new_tokens": 6},
}
STAGES = ["preferences", "reward_models", "rejection_sampling"]
ROUNDS = [{"name": f"RLHF-V{number}", "stages": STAGES + ["ppo"] * (number == 5)} for number in range(1, 6)]


@pytest.fixture(scope="module")
def five_rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recipe with five rounds, the last with PPO, and Ghost Attention, that runs within a minute."""
    folder = tmp_path_factory.mktemp("recipes") / "five_rounds"
    shutil.copytree(PACKAGED / "quickstart", folder)
    for name, fields in {**SMALLEST, "recipe": {"rounds": ROUNDS}}.items():
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **fields}))
    constraints = folder / "constraints.yaml"  # no model that small obeys any
    constraints.write_text(constraints.read_text().replace("recipes.quickstart.rules.follows", f"{__name__}.obeys"))
    return folder


def obeys(*_: str) -> bool:
    """In the place of the rule that tells whether an answer follows its instruction."""
    return True
