"""Rounds as `recipe.yaml` declares them, and the five that the paper had: which steps, reading what from which."""

import itertools
import re

import pytest
import yaml
from typer.testing import CliRunner

from chat_model.errors import InputError
from recipes.chain import steps_of
from recipes.cli import main
from recipes.recipe import PACKAGED, read_recipe

GATT_STEPS = ("dialogues", "rehearsal", "policy", "adherence_before", "adherence_after")
ROUNDS = [f"RLHF-V{number}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    recipe = read_recipe("five_rounds", tmp_path_factory.mktemp("root"))
    return {step.name: step for step in steps_of(recipe)}


@pytest.fixture
def steps_with(tmp_path):
    """Return a function that gives the steps of the quickstart with other rounds."""

    def read(*rounds: dict, **fields):
        content = {"name": "mine", "extends": "quickstart", "gatt": False, "rounds": list(rounds), **fields}
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / "recipe.yaml").write_text(yaml.safe_dump(content))
        return {step.name: step for step in steps_of(read_recipe(tmp_path / "mine", tmp_path / "out"))}

    return read


def out(steps, name, file=""):
    return str(steps[name].output / file) if file else str(steps[name].output)


def stages_of(steps, round_name):
    return [name.removeprefix(f"{round_name}/") for name in steps if name.startswith(f"{round_name}/")]


def test_rejection_sampling_to_v4_then_both_and_ghost_attention_after_v3(five):
    plain = ["preferences", "helpfulness_reward_model", "safety_reward_model", "rejection_sampling", "policy"]
    gatt = [f"gatt/{name}" for name in GATT_STEPS]
    assert [stages_of(five, name) for name in ROUNDS] == [
        plain,
        plain,
        plain + gatt,
        plain,
        [*plain, "ppo", "ppo_gain"],
    ]
    assert not any(name.startswith("gatt/") for name in five)


def test_later_rounds_go_on_from_ghost_attention_and_rehearse_its_dialogues(five):
    """Else what Ghost Attention taught is in no later checkpoint, or lost again within a round."""
    trained = out(five, "RLHF-V3/gatt/policy")
    assert five["RLHF-V4/preferences"].arguments["model_name_or_path"] == trained
    assert five["RLHF-V4/preferences"].arguments["previous_model"] == out(five, "RLHF-V3/policy")
    for stage in ("helpfulness_reward_model", "rejection_sampling", "policy"):
        assert five[f"RLHF-V4/{stage}"].arguments["model_name_or_path"] == trained
    for name in ("RLHF-V4", "RLHF-V5"):
        rehearsed = five[f"{name}/policy"].arguments["rehearsal_dataset_name"]
        assert rehearsed == [out(five, "RLHF-V3/gatt/dialogues", "conversations.jsonl")]
    assert five["adherence_at_the_end"].arguments["model_name_or_path"] == out(five, "RLHF-V5/ppo")


@pytest.mark.parametrize("kind", ["helpfulness_reward_model", "safety_reward_model"])
def test_no_policy_is_trained_on_a_reward_model_weaker_than_that_of_the_round_before(five, kind):
    assert "earlier_model" not in five[f"RLHF-V1/{kind}"].arguments
    for before, name in itertools.pairwise(ROUNDS):
        arguments = five[f"{name}/{kind}"].arguments
        assert arguments["earlier_model"] == out(five, f"{before}/{kind}")
        assert arguments["if_weaker"] == "keep_earlier"
        assert arguments["model_name_or_path"] != arguments["earlier_model"], "it starts from a chat model, as ever"


def test_reward_models_learn_from_all_rounds_so_far_and_are_held_against_all(five):
    files = [out(five, f"{name}/preferences", "preferences.jsonl") for name in ROUNDS]
    for number, name in enumerate(ROUNDS, 1):
        assert five[f"{name}/safety_reward_model"].arguments["preferences"] == files[:number]
    by_round = five["reward_models_by_round"].arguments
    assert by_round["preferences"] == files and by_round["preference_rounds"] == ROUNDS
    assert by_round["model_rounds"] == [name for name in ROUNDS for _ in range(2)]
    assert by_round["reward_models"][-1] == out(five, "RLHF-V5/safety_reward_model")


def test_all_checkpoints_are_evaluated_in_order(five):
    names = [*ROUNDS[:3], "RLHF-V3 + GAtt", *ROUNDS[3:]]
    assert five["evaluation"].arguments["names"] == ["sft", *names]


def test_every_round_draws_other_prompts(five):
    for stage in ("preferences", "rejection_sampling"):
        assert len({five[f"{name}/{stage}"].arguments["seed"] for name in ROUNDS}) == 5


def test_prompts_and_data_of_a_round(steps_with):
    """`prompts` reaches every stage of the round that takes any, and no other round; data joins from there on."""
    steps = steps_with(
        {"name": "A", "prompts": "{world}/other.jsonl", "overrides": {"ppo.prompts": "own.jsonl"}},
        {"name": "B", "preferences": ["open.jsonl"], "stages": ["reward_models", "rejection_sampling"]},
    )
    other = out(steps, "world", "other.jsonl")
    assert [steps[f"A/{name}"].arguments["prompts"] for name in ("preferences", "rejection_sampling", "ppo")] == [
        *(other, other, "own.jsonl")
    ]
    assert steps["B/rejection_sampling"].arguments["prompts"] == out(steps, "world", "prompts_train.jsonl")
    expected = [out(steps, "A/preferences", "preferences.jsonl"), "open.jsonl"]
    assert steps["A/safety_reward_model"].arguments["preferences"] == expected[:1]
    assert steps["B/safety_reward_model"].arguments["preferences"] == expected


def test_a_round_may_be_ghost_attention_alone(steps_with):
    steps = steps_with({"name": "A", "stages": ["gatt"]})
    assert steps["A/gatt/dialogues"].arguments["model_name_or_path"] == out(steps, "sft")
    assert "A/gatt/rehearsal" not in steps, "there is no reward model to choose answers by"
    assert steps["evaluation"].arguments["names"] == ["sft", "A", "A + GAtt"]


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        ([{"name": "A", "stages": ["ppo"]}], "round 'A': ppo comes before any reward_models"),
        ([{"name": "A", "stages": ["reward_models"]}], "round 'A': reward_models come before any preferences"),
        ([{"name": "A"}, {"name": "A"}], "found the names A, A; expected different ones"),
        ([{"name": "A", "stages": "ppo"}], "round 'A', stages: found 'ppo'; expected a list"),
        ([{"name": "A", "prompt": "x"}], "unknown key 'prompt' (did you mean 'prompts'?)"),
    ],
)
def test_rounds_that_cannot_work_are_refused_before_anything_runs(steps_with, rounds, message):
    with pytest.raises(InputError) as error:
        steps_with(*rounds)
    assert message in str(error.value)


def test_the_readmes_plan_shows_every_step(five, tmp_path):
    """The command of the recipe's README; a plan imports no stage, so it answers at once."""
    result = CliRunner().invoke(main, ["plan", "five_rounds", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert f"{len(five)} of {len(five)} steps would run" in result.output
    assert f"python -m rlhf.ppo --config {tmp_path / 'out'}/configs/RLHF-V5/ppo.yaml" in result.output


def test_the_rounds_in_the_readme_are_a_recipe(tmp_path):
    """What a reader copies must be read without an error, and mean what the text beside it says."""
    readme = (PACKAGED / "five_rounds" / "README.md").read_text()
    (tmp_path / "recipe.yaml").write_text(re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)[1])
    steps = {step.name: step for step in steps_of(read_recipe(tmp_path, tmp_path / "out"))}
    assert stages_of(steps, "RLHF-V1")[-5:] == [f"gatt/{name}" for name in GATT_STEPS]
    assert steps["RLHF-V1/ppo"].arguments["prompts"] == "prompts_of_round_1.jsonl"
    assert steps["RLHF-V1/rejection_sampling"].arguments["temperature"] == 0.8
    assert steps["RLHF-V1/safety_reward_model"].arguments["preferences"][0] == "open_preferences.jsonl"
