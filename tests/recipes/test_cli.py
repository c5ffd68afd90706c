"""The `rounds` command: what it prints, its exit codes, and that it starts fast."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recipes.cli import main
from recipes.result_tables import result_tables


def _rounds(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


COMMANDS = [
    *("quickstart", "run", "plan", "status", "report", "clean", "mask", "import", "annotate", "preferences"),
    *("evaluate-rm", "rollouts", "evaluate-safety"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(command):
    result = _rounds(command, "--help")
    assert result.exit_code == 0
    assert f"Example: rounds {command}" in result.output


def test_version_is_the_distributions():
    assert re.fullmatch(r"rounds \d+\.\d+\S*\n", _rounds("--version").output)


def test_help_answers_within_a_second_and_without_torch():
    code = """if True:
        import sys
        sys.argv = ["rounds", "--help"]
        from recipes.cli import main
        try:
            main()
        except SystemExit:
            assert not {"torch", "transformers", "trl", "datasets", "matplotlib"} & set(sys.modules)
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1.0


def test_run_writes_results_and_report_and_runs_once(make_toy):
    toy = make_toy()
    first = _rounds("run", toy.folder, "--output", toy.root)
    assert first.exit_code == 0, first.output
    assert f"report: {toy.root / 'report.html'}" in first.output
    assert set(json.loads((toy.root / "results.json").read_text())["seconds"]) >= {"total", "first", "third"}
    assert toy.calls() == ["first", "second", "third", "alone"]
    assert _rounds("run", toy.folder, "--output", toy.root).exit_code == 0
    assert toy.calls() == []


def test_output_defaults_to_runs_and_the_recipes_name(make_toy, tmp_path, monkeypatch):
    toy = make_toy()
    monkeypatch.chdir(tmp_path)
    assert _rounds("run", toy.folder).exit_code == 0
    assert (tmp_path / "runs" / "toy" / "third" / "run.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "no_such"], "no_such: no such recipe folder"),
        (["run", "{recipe}", "--set", "wrd=1"], "did you mean 'word'?"),
        (["run", "{recipe}", "--set", "first.fail=input"], "step 'first': rows.jsonl:3: field 'x'"),
        (["status", "{recipe}"], "holds no run of a recipe"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(make_toy, tmp_path, words, message):
    toy = make_toy()
    result = _rounds(
        *(word.format(recipe=toy.folder) for word in words), *(["-o", toy.root] if words[0] == "run" else [])
    )
    assert result.exit_code == 2
    *_, last = result.stderr.rstrip("\n").splitlines()
    assert message in last
    assert "Traceback" not in result.output


def test_a_failed_step_is_exit_code_1(make_toy):
    toy = make_toy()
    result = _rounds("run", toy.folder, "-o", toy.root, "--set", "first.fail=crash")
    assert result.exit_code == 1
    assert "step 'first' failed: ZeroDivisionError: toy broke" in result.stderr
    assert not (toy.root / "results.json").exists()


def test_status_lists_every_step_with_its_state(make_toy):
    toy = make_toy()
    _rounds("run", toy.folder, "-o", toy.root, "--set", "third.fail=crash")
    rows = [line for line in _rounds("status", toy.root).output.splitlines() if "│" in line]
    assert [re.findall(r"done|missing|stale", row) for row in rows] == [["done"], ["done"], ["missing"], ["missing"]]


def test_what_a_step_notes_is_shown_when_it_ends_and_by_status(make_toy):
    toy = make_toy()
    toy.edit("second.yaml", note="two of three were weak")
    with pytest.warns(UserWarning, match="two of three were weak"):
        ran = _rounds("run", toy.folder, "-o", toy.root)
    lines = [line for line in ran.output.splitlines() if "· note" in line]
    assert lines == ["[2/4] second · note: two of three were weak"]
    noted = [line for line in _rounds("status", toy.root).output.splitlines() if "two of three" in line]
    assert len(noted) == 1 and "second" in noted[0] and "done" in noted[0]


def test_result_tables_say_which_reward_model_was_weaker_and_which_is_used():
    found = {"count": 120, "accuracy": 0.5, "accuracy_of_earlier": 0.75, "chance": 0.0004, "kept": "earlier"}
    (table,) = result_tables({"against_earlier": {"RLHF-V4/helpfulness_reward_model": found}})
    cells = [column.cells for column in table.columns]
    assert [cell for (cell,) in map(list, cells)] == [
        *("RLHF-V4/helpfulness_reward_model", "120", "50.0%", "75.0%", "0.0004", "earlier")
    ]


def test_result_tables_leave_out_what_is_missing():
    stages = {"sft": {"helpfulness": 50.0, "safety": 40.25}, "RLHF-V1": {"helpfulness": 60.0, "win_rate_vs_sft": 0.7}}
    (table,) = result_tables({"seconds": {"total": 1.0}, "stages": stages, "reward_models": {}, "gatt": {}})
    cells = [list(column.cells) for column in table.columns]
    assert cells == [["sft", "RLHF-V1"], ["50.0", "60.0"], ["40.2", "–"], ["–", "–"], ["–", "70% over sft"]]


def test_mask_shows_a_conversation(tiny_checkpoint, tmp_path):
    file = tmp_path / "rows.jsonl"
    messages = [
        {"role": "user", "content": "what color is the fox?"},
        {"role": "assistant", "content": "the fox is red."},
    ]
    file.write_text(json.dumps({"messages": messages}) + "\n")
    result = _rounds("mask", file, "--model", tiny_checkpoint)
    assert result.exit_code == 0, result.output
    assert "the fox is red." in result.output
    result = _rounds("mask", Path("missing.jsonl"), "--model", tiny_checkpoint)
    assert result.exit_code == 2
    assert "missing.jsonl" in result.stderr


def test_evaluate_rm_prints_the_accuracies_and_says_where_the_rest_is(tiny_reward_checkpoint, tmp_path):
    file, output = tmp_path / "pairs.jsonl", tmp_path / "out"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"question {index}?"}],
            "chosen": [{"role": "assistant", "content": "the fox"}],
            "rejected": [{"role": "assistant", "content": "the owl lives"}],
            "rating": "better",
            "domain": "safety",
        }
        for index in range(3)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = _rounds("evaluate-rm", tiny_reward_checkpoint, "--preferences", file, "-o", output, "--domain", "safety")
    assert result.exit_code == 0, result.output
    measured = json.loads((output / "evaluation.json").read_text())["accuracy"]
    assert f"{measured['better']['accuracy']:.1%}" in result.output and "safety" in result.output
    assert f"evaluation: {output}" in result.output
    result = _rounds("evaluate-rm", tiny_reward_checkpoint, "-p", file, "-o", output, "--domain", "other")
    assert result.exit_code == 2 and "invalid choice: 'other'" in result.stderr


def test_result_tables_show_reward_models_by_round_with_gaps_in_place():
    cells = {"RLHF-V1": {"V1": {"accuracy": 0.75}, "V2": {"accuracy": 0.625}}, "RLHF-V2": {"V2": {"accuracy": None}}}
    (table,) = result_tables({"reward_models_by_round": {"safety": cells}})
    assert table.title == "safety reward models on the preferences of each round"
    assert [[column.header, *column.cells] for column in table.columns] == [
        ["model of", "RLHF-V1", "RLHF-V2"],
        ["V1", "75.0%", "–"],
        ["V2", "62.5%", "–"],
    ]


def test_evaluate_safety_prints_the_rates_of_our_own_prompts(tiny_checkpoint, tmp_path):
    output, rule = tmp_path / "out", "rlhf.safety_evaluation.refusals.judge"
    options = ["-o", output, "--name", "model", "--max-new-tokens", 4]
    result = _rounds("evaluate-safety", tiny_checkpoint, "--rule", rule, *options)
    assert result.exit_code == 0, result.output
    told = json.loads((output / "safety.json").read_text())
    assert (told["prompts"], told["borderline_prompts"]) == (60, 18)
    assert f"{told['checkpoints']['model']['violations']['all']['share']:.1%}" in result.output
    assert f"evaluation: {output}" in result.output
    result = _rounds("evaluate-safety", tiny_checkpoint, *options)
    assert result.exit_code == 2 and "expected one of them" in result.stderr
