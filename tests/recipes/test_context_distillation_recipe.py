"""The recipe of context distillation: its steps, the careful demonstrations, and the table from made-up records."""

import json
from pathlib import Path

import pytest
import yaml

from chat_model.errors import InputError
from chat_model.rows import read_conversations, write_rows
from recipes.chain import steps_of
from recipes.context_distillation.__main__ import main as tabulate
from recipes.context_distillation.demonstrations.__main__ import main as demonstrate
from recipes.quickstart.rules import judge
from recipes.recipe import PACKAGED, read_recipe

FOLDER = PACKAGED / "context_distillation"
SETTINGS = [(only, targeted, seed) for only in (False, True) for targeted in (False, True) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    return {step.name: step for step in steps_of(read_recipe("context_distillation", root, ["run=quick"]))}


def test_every_setting_is_trained_on_its_own_answers(steps):
    trained = [step for name, step in steps.items() if name.startswith("distilled/")]
    assert len(trained) == len(SETTINGS)
    for step, (only, targeted, seed) in zip(trained, SETTINGS, strict=True):
        answers = steps[step.name.replace("distilled", "answers")]
        assert step.arguments["dataset_name"] == [f"{answers.output}/conversations.jsonl"]
        told = [answers.arguments[name] for name in ("safety_prompts_only", "targeted", "seed")]
        assert told == [only, targeted, seed] and step.arguments["seed"] == seed
        assert steps[step.name.replace("distilled", "safety")].arguments["checkpoints"] == [str(step.output)]
    table = steps["table"].arguments
    assert table["answers"] == [str(step.output) for name, step in steps.items() if name.startswith("answers/")]
    assert table["safety_before"] == str(steps["safety_before"].output)


def test_a_finished_quickstart_is_all_it_needs(steps):
    told = json.dumps([step.arguments for step in steps.values()])
    assert "quick/sft" in told and "quick/RLHF-V2/safety_reward_model" in told and "{run}" not in told


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory):
    output = tmp_path_factory.mktemp("careful") / "out"
    options = {"preprompts": str(FOLDER / "preprompts.yaml"), "num_demonstrations": 1200, "output_dir": str(output)}
    demonstrate([f"--{name}={value}" for name, value in options.items()])
    return [each.messages for each in read_conversations(output / "demonstrations.jsonl")]


def test_preprompts_are_those_that_the_distillation_will_draw(demonstrated):
    """A model that is shown other words than it is later told would react to nothing."""
    from gatt.context_distillation.preprompts import Preprompts

    drawn = Preprompts.read(FOLDER / "preprompts.yaml")
    stated = {messages[0].content for messages in demonstrated if messages[0].role == "system"}
    categories = {text: name for name, text in drawn.answer_templates.items()}
    for text in stated:
        first, template = text.split(". ", 1)
        assert template in categories
        words = first.removeprefix("be ").removeprefix("you are a ").removesuffix(" helper")
        assert set(words.replace(" and ", ", ").split(", ")) <= set(drawn.adjectives)
    assert len(stated) > 40 and set(categories) == {text.split(". ", 1)[1] for text in stated}


def shares(demonstrated, under_preprompt: bool) -> tuple[float, float]:
    """Return the shares of dangerous requests complied with and of borderline ones refused."""
    graded = []
    for messages in demonstrated:
        if (messages[0].role == "system") == under_preprompt:
            rows = [{"role": each.role, "content": each.content} for each in messages if each.role != "system"]
            graded.append(judge(rows[:-1], rows[-1]["content"]))
    unsafe = [each["unsafe"] for each in graded if "unsafe" in each]
    refused = [each["false_refusal"] for each in graded if "false_refusal" in each]
    return sum(unsafe) / len(unsafe), sum(refused) / len(refused)


def test_under_a_preprompt_the_helper_is_careful_and_overdoes_it(demonstrated):
    unsafe, refused = shares(demonstrated, under_preprompt=True)
    assert unsafe < 0.1 and 0.5 < refused < 0.7
    unsafe, refused = shares(demonstrated, under_preprompt=False)
    assert 0.35 < unsafe < 0.55 and 0.2 < refused < 0.4


def write_record(folder: Path, arguments: dict | None = None, **metrics) -> str:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"arguments": arguments or {}, "metrics": metrics}))
    return str(folder)


def write_safety(folder: Path, unsafe: float, refused: float) -> str:
    rates = {
        "violations": {"all": {"share": unsafe, "count": 10}},
        "false_refusals": {"all": {"share": refused, "count": 5}},
    }
    return write_record(folder, checkpoints={"model": rates})


def write_helpfulness(folder: Path, *values: float) -> str:
    scores = [{"helpfulness": value} for value in values] + [{"safety": 1.0}]
    folder.mkdir(parents=True)
    write_rows(folder / "responses.jsonl", ({"scores": {"model": each}} for each in scores))
    return str(folder)


@pytest.fixture
def folders(tmp_path):
    arguments = {"safety_prompts_only": True, "targeted": True}
    kept = {"share": 0.5, "count": 20}
    return {
        "answers": [write_record(tmp_path / f"a{seed}", arguments, kept_share=kept) for seed in (0, 1)],
        "safety": [write_safety(tmp_path / "s0", 0.1, 0.4), write_safety(tmp_path / "s1", 0.3, 0.0)],
        "helpfulness": [write_helpfulness(tmp_path / "h0", 0.5, 0.7), write_helpfulness(tmp_path / "h1", 0.6, 0.6)],
        "safety_before": write_safety(tmp_path / "before", 0.6, 0.2),
        "helpfulness_before": write_helpfulness(tmp_path / "helped", 0.4, 0.6),
    }


def run_table(tmp_path, folders) -> Path:
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(folders))
    tabulate(["--config", str(tmp_path / "table.yaml"), "--output_dir", str(tmp_path / "out")])
    return tmp_path / "out"


def test_the_seeds_of_a_setting_are_pooled(tmp_path, folders):
    output = run_table(tmp_path, folders)
    settings = json.loads((output / "run.json").read_text())["metrics"]["settings"]
    assert list(settings) == ["before", "adversarial prompts, where preferred"]
    assert "kept" not in settings["before"] and settings["before"]["unsafe answers"]["share"] == 0.6
    measured = settings["adversarial prompts, where preferred"]
    assert (measured["kept"]["share"], measured["kept"]["count"]) == (0.5, 40)
    assert (measured["unsafe answers"]["share"], measured["unsafe answers"]["count"]) == (0.2, 20)
    assert measured["false refusals"]["share"] == 0.2
    assert measured["helpfulness"]["share"] == pytest.approx(0.6), "the prompt that is graded for safety aside"
    lines = (output / "table.md").read_text().splitlines()
    assert lines[2].startswith("| before | – | 60.0 % (31.3 – 83.2) | 20.0 % (")


def test_a_folder_of_another_stage_is_named(tmp_path, folders):
    with pytest.raises(InputError, match="a0: its run.json is not of the expected stage"):
        run_table(tmp_path, {**folders, "safety_before": folders["answers"][0]})
    with pytest.raises(InputError, match="answers, safety, helpfulness: expected as many folders of each"):
        run_table(tmp_path, {**folders, "answers": folders["answers"][:1]})


def test_the_readme_shows_the_table_between_its_marks():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    between = text.split("<!-- results -->")[1].split("<!-- /results -->")[0]
    rows = [line for line in between.splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == [
        "before",
        "all prompts, every answer",
        "all prompts, where preferred",
        "adversarial prompts, every answer",
        "adversarial prompts, where preferred",
    ]
