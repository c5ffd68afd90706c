"""The chain of Figure 4: which steps, in which order, reading what from which."""

import shutil

import pytest

from recipes.chain import steps_of
from recipes.recipe import PACKAGED, read_recipe


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    recipe = read_recipe("quickstart", tmp_path_factory.mktemp("root"))
    return {step.name: step for step in steps_of(recipe)}


def test_order_is_that_of_figure_4(steps):
    round_1 = ["preferences", "helpfulness_reward_model", "safety_reward_model", "rejection_sampling", "policy"]
    gatt = ["dialogues", "rehearsal", "policy", "adherence_before", "adherence_after"]
    assert list(steps) == [
        *("world", "base", "sft"),
        *(f"RLHF-V1/{name}" for name in round_1),
        *(f"RLHF-V2/{name}" for name in [*round_1, "ppo", "ppo_gain"]),
        *(f"gatt/{name}" for name in gatt),
        "reward_models_by_round",
        "evaluation",
        "safety_evaluation",
    ]


def out(steps, name, file=""):
    return str(steps[name].output / file) if file else str(steps[name].output)


def test_every_round_starts_from_the_newest_and_remembers(steps):
    assert steps["RLHF-V1/preferences"].arguments["previous_model"] is None
    second = steps["RLHF-V2/preferences"].arguments
    assert second["model_name_or_path"] == out(steps, "RLHF-V1/policy")
    assert second["previous_model"] == out(steps, "sft")
    reward_model = steps["RLHF-V2/safety_reward_model"].arguments
    assert reward_model["model_name_or_path"] == out(steps, "RLHF-V1/policy")
    pairs = [out(steps, f"RLHF-V{number}/preferences", "preferences.jsonl") for number in (1, 2)]
    assert reward_model["preferences"] == pairs
    assert reward_model["earlier_model"] == out(steps, "RLHF-V1/safety_reward_model")
    assert "earlier_model" not in steps["RLHF-V1/safety_reward_model"].arguments
    pools = [steps[f"RLHF-V{number}/rejection_sampling"].arguments["pool"] for number in (1, 2)]
    assert pools == [[], [out(steps, "RLHF-V1/rejection_sampling", "pool.jsonl")]]


def test_ppo_stands_on_the_rejection_sampled_checkpoint_and_the_newest_reward_models(steps):
    arguments = steps["RLHF-V2/ppo"].arguments
    assert arguments["model_name_or_path"] == out(steps, "RLHF-V2/policy")
    for domain in ("helpfulness", "safety"):
        assert arguments[f"{domain}_reward_model"] == out(steps, f"RLHF-V2/{domain}_reward_model")


def test_ghost_attention_and_evaluation_see_the_final_policy(steps):
    assert steps["gatt/dialogues"].arguments["model_name_or_path"] == out(steps, "RLHF-V2/ppo")
    assert steps["gatt/adherence_before"].arguments["model_name_or_path"] == out(steps, "RLHF-V2/ppo")
    assert steps["gatt/adherence_after"].arguments["model_name_or_path"] == out(steps, "gatt/policy")
    rehearsal = steps["gatt/rehearsal"]
    assert rehearsal.arguments["model_name_or_path"] == out(steps, "RLHF-V2/ppo")
    assert steps["gatt/policy"].arguments["rehearsal_dataset_name"] == [
        out(steps, "gatt/rehearsal", "conversations.jsonl")
    ]
    evaluation = steps["evaluation"].arguments
    assert evaluation["names"] == ["sft", "RLHF-V1", "RLHF-V2", "GAtt"]
    assert evaluation["checkpoints"][2] == out(steps, "RLHF-V2/ppo")
    gain = steps["RLHF-V2/ppo_gain"].arguments["checkpoints"]
    assert gain == [out(steps, "RLHF-V2/policy"), out(steps, "RLHF-V2/ppo")], "what PPO itself gained can be seen"


STUDENT = """
model_name_or_path: "tiny:hidden_size=64,intermediate_size=128,num_hidden_layers=2"
tokenizer_name_or_path: "{base}"
"""


def test_a_student_learns_from_the_samples_of_every_round(tmp_path):
    """Each round goes on from the student of the round before, and the large model never from the student."""
    shutil.copytree(PACKAGED / "quickstart", tmp_path / "recipe")
    (tmp_path / "recipe" / "student_sft.yaml").write_text(STUDENT)
    steps = {step.name: step for step in steps_of(read_recipe(tmp_path / "recipe", tmp_path / "out"))}
    first, second = (steps[f"RLHF-V{number}/student"].arguments for number in (1, 2))
    assert first["model_name_or_path"].startswith("tiny:") and first["tokenizer_name_or_path"] == out(steps, "base")
    assert first["dataset_name"] == [out(steps, "RLHF-V1/rejection_sampling", "conversations.jsonl")]
    assert second["model_name_or_path"] == out(steps, "RLHF-V1/student")
    assert steps["RLHF-V2/policy"].arguments["model_name_or_path"] == out(steps, "RLHF-V1/policy")
    evaluation = steps["evaluation"].arguments
    assert evaluation["names"][-1] == "student" and evaluation["checkpoints"][-1] == out(steps, "RLHF-V2/student")


def test_no_step_reads_from_a_later_one(steps):
    done = []
    for step in steps.values():
        reads = [str(later.output) for later in steps.values() if str(later.output) + "/" in str(step.arguments) + "/"]
        assert all(path in done for path in reads), step.name
        done.append(str(step.output))


_REAL_DATA = ("data=rows.jsonl", "model=m")


@pytest.mark.parametrize(
    "name",
    ["quickstart", "five_rounds", "hh_rlhf", "gsm8k", "margin_ablation", "ghost_attention", "context_distillation"],
)
def test_every_field_of_every_shipped_recipe_is_known_to_its_stage(name, tmp_path):
    """Parse the arguments of every step with the stage's own dataclasses; nothing runs."""
    import importlib

    from chat_model.config import parse_configs

    recipe = read_recipe(name, tmp_path, settings=_REAL_DATA if name in ("hh_rlhf", "gsm8k") else ())
    for step in steps_of(recipe):
        main = importlib.import_module(f"{step.module}.__main__").main
        seen = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(main.__globals__, "run_stage", lambda _, types, *rest, seen=seen, **more: seen.append(types))
            main([])
        argv = [f"--output_dir={step.output}"]
        for key, value in step.arguments.items():
            if isinstance(value, list) and value:
                argv += [f"--{key}", *map(str, value)]
            elif value not in (None, []) and not isinstance(value, dict):
                argv.append(f"--{key}={value}")
        parse_configs(step.module, seen[0], argv)
