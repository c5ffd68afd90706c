"""The recipe that measures Ghost Attention: what hangs on what, its bars, and its tables from made-up records."""

import json

import pytest

from chat_model.errors import InputError
from recipes.chain import steps_of
from recipes.ghost_attention.__main__ import main
from recipes.ghost_attention.bars import hold_against_bars
from recipes.recipe import read_recipe


def by_turn(**shares):
    return {turn[1:]: {"adherence": share, "low": share, "high": share, "count": 200} for turn, share in shares.items()}


BEFORE = by_turn(t1=0.9, t2=0.6, t4=0.1, t6=0.05, t20=0.2)
AFTER = by_turn(t1=1.0, t2=0.99, t4=0.98, t6=1.0, t20=0.985)
GRADES = {"before": {"helpfulness": 75.0, "safety": 91.0}, "after": {"helpfulness": 73.0, "safety": 90.0}}


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"before": {**BEFORE, **by_turn(t30=0.21)}}, ["baseline from turn 6 on"]),
        ({"after": {**AFTER, **by_turn(t20=0.979)}}, ["GAtt at turns 2, 4, 6, 20"]),
        ({"ratio": 1.9}, ["attention at turn 20"]),
        ({"grades": {**GRADES, "after": {"helpfulness": 73.0, "safety": 88.9}}}, ["safety"]),
    ],
)
def test_each_bar_is_missed_by_its_own_measurement_alone(changes, missed):
    given = {"before": BEFORE, "after": AFTER, "ratio": 2.0, "grades": GRADES, **changes}
    assert [bar.name for bar in hold_against_bars(**given) if not bar.ok] == missed


def write(folder, metrics):
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"metrics": metrics}))
    return str(folder)


def scenarios(**turns):
    return {"scenarios": {name: {"turns": told} for name, told in turns.items()}}


@pytest.fixture
def folders(tmp_path):
    mass = {"1": {"mass": 0.15, "low": 0.1, "high": 0.2}, "20": {"mass": 0.01, "low": 0.008, "high": 0.012}}
    graded = {name: {**each, "unsafe": 0.0, "false_refusal": 1.0} for name, each in GRADES.items()}
    return {
        "before": write(tmp_path / "before", scenarios(explicit=BEFORE, no_instruction=BEFORE)),
        "after": write(tmp_path / "after", scenarios(explicit=AFTER, no_instruction=AFTER)),
        "every_turn": write(tmp_path / "every", scenarios(explicit=by_turn(t2=0.7))),
        "zero_shot_before": write(tmp_path / "zero_before", scenarios(explicit=by_turn(t2=0.3))),
        "zero_shot_after": write(tmp_path / "zero_after", scenarios(explicit=by_turn(t2=0.8))),
        "attention": write(
            tmp_path / "attention",
            {"attention": {"before": mass, "after": mass}, "ratio_to_first": {"after": {"20": 1.0}}},
        ),
        "evaluation": write(tmp_path / "evaluation", {"checkpoints": graded}),
    }


def tabulate(tmp_path, folders):
    arguments = [word for name, folder in folders.items() for word in (f"--{name}", folder)]
    main([*arguments, "--output_dir", str(tmp_path / "tables")])
    return (tmp_path / "tables" / "tables.md").read_text().splitlines()


def test_the_tables_say_what_was_measured_and_the_missed_bar_stands_out(tmp_path, folders):
    lines = tabulate(tmp_path, folders)
    assert lines[0] == "| explicit (n ≥ 200) | turn 1 | turn 2 | turn 4 | turn 6 | turn 20 |"
    assert lines[4] == "| loss on every turn | – | 70.0 % (70 – 70) | – | – | – |"
    assert "| no instruction (acted out), after | 99.0 % (99 – 99) | 100.0 % (100 – 100) | 98.5 % (98 – 98) |" in lines
    assert "| after GAtt | 80.0 % (80 – 80) |" in lines
    assert "| before | 15.00 % (10.00 – 20.00) | 1.00 % (0.80 – 1.20) |" in lines
    assert "| after | 73.0 | 90.0 | 0.0 | 1.0 |" in lines
    assert lines[-1] == "| attention at turn 20 | × 2 | **× 1.00** |"
    assert sum("**" in line for line in lines) == 1


@pytest.mark.parametrize("metrics", [None, {}])
def test_a_folder_of_something_else_is_named(tmp_path, folders, metrics):
    wrong = write(tmp_path / "other", metrics) if metrics is not None else str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="other|nowhere"):
        tabulate(tmp_path, {**folders, "after": wrong})


def test_variables_lie_in_the_run_unless_they_are_set():
    steps = {step.name: step for step in steps_of(read_recipe("ghost_attention", settings=["run=some"]))}
    assert steps["dialogues"].arguments["model_name_or_path"] == "some/RLHF-V2/ppo"
    settings = ["run=some", "model=other/chat"]
    steps = {step.name: step for step in steps_of(read_recipe("ghost_attention", settings=settings))}
    assert steps["adherence_before"].arguments["model_name_or_path"] == "other/chat"
    assert steps["rehearsal"].arguments["safety_reward_model"] == "some/RLHF-V2/safety_reward_model"


def test_only_what_is_compared_differs_between_the_runs():
    """An ablation that changes a second thing shows nothing."""
    steps = {step.name: step.arguments for step in steps_of(read_recipe("ghost_attention"))}

    def differing(one, other):
        return {key for key in {**steps[one], **steps[other]} if steps[one].get(key) != steps[other].get(key)}

    assert differing("dialogues", "dialogues_every") == {"train_on"}
    assert differing("dialogues", "dialogues_without") == {"leave_out"}
    assert differing("policy", "policy_every") == differing("policy", "policy_without") == {"dataset_name"}
    assert differing("adherence_before", "adherence_after") == {"model_name_or_path"}
    assert differing("zero_shot_before", "zero_shot_after") == {"model_name_or_path"}
    assert differing("adherence_after", "adherence_every") == {"model_name_or_path", "scenarios"}
    assert steps["zero_shot_after"]["kinds"] == steps["dialogues_without"]["leave_out"]
