"""Both commands from their YAML to their output folders, with a random tiny Llama in place of a chat model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chat_model.conversation import Message
from chat_model.engines import TENSOR_PARALLEL
from chat_model.errors import InputError
from chat_model.rows import read_conversations, read_rows, write_rows
from gatt.evaluate.__main__ import main as evaluate
from gatt.sampler import ModelSampler
from gatt.synthesize.__main__ import main as synthesize

FIGURES = ("napoleon", "cleopatra")


@pytest.fixture
def files(tmp_path, model_folder) -> dict[str, str]:
    constraints = [
        {"kind": "figure", "value": name, "verbose": [f"act as {name}."], "terse": f"figure: {name}."}
        for name in FIGURES
    ]
    (tmp_path / "constraints.yaml").write_text(yaml.safe_dump(constraints))
    for name in FIGURES:
        write_rows(tmp_path / f"{name}.jsonl", [{"constraints": [{"kind": "figure", "value": name}]}])
    message = {"user": "who are you?", "assistant": "a helper."}
    messages = [{"role": role, "content": content} for _ in range(3) for role, content in message.items()]
    write_rows(tmp_path / "dialogues.jsonl", [{"messages": messages}] * 2)
    return {
        "model_name_or_path": str(model_folder),
        "dialogues": str(tmp_path / "dialogues.jsonl"),
        "constraints": str(tmp_path / "constraints.yaml"),
        "combinations": str(tmp_path / "napoleon.jsonl"),
        "output_dir": str(tmp_path / "output"),
    }


def run(command, tmp_path, settings) -> Path:
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump(settings))
    command(["--config", str(tmp_path / "stage.yaml")])
    return Path(settings["output_dir"])


def with_checker(files, name) -> None:
    path = Path(files["constraints"])
    path.write_text(yaml.safe_dump([{**row, "checker": name} for row in yaml.safe_load(path.read_text())]))


def test_synthesis_writes_conversations_that_sft_can_read(tmp_path, files):
    settings = {"num_dialogues": 6, "num_samples": 4, "max_new_tokens": 60, "prefixes_per_dialogue": 2, "max_turns": 3}
    output = run(synthesize, tmp_path, {**files, **settings})
    rows = [row for _, row in read_rows(output / "conversations.jsonl")]
    for row, conversation in zip(rows, read_conversations(output / "conversations.jsonl"), strict=True):
        trained = [message.train for message in conversation.messages if message.role == "assistant"]
        assert trained == [False] * (row["turn"] - 1) + [True]
        assert conversation.messages[0] == Message("system", row["instruction"])
        assert row["instruction"] in ("act as napoleon.", "figure: napoleon.")
    record = json.loads((output / "run.json").read_text())
    counts = record["counts"]
    assert counts["conversations_written"] == len(rows) == sum(record["metrics"]["conversations_by_turn"].values())
    ended = ("dialogues_complete", "dialogues_lost", "dialogues_context_full")
    assert sum(counts[name] for name in ended) == counts["dialogues_sampled"] == 6
    assert counts["dialogues_read"] == 2


def test_synthesis_is_the_same_for_a_seed(tmp_path, files):
    settings = {**files, "num_dialogues": 3, "max_new_tokens": 60, "max_turns": 2}
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        output = run(synthesize, tmp_path, {**settings, "seed": seed, "output_dir": str(tmp_path / name)})
        texts.append((output / "conversations.jsonl").read_text())
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(("context_turns", "longest"), [(None, 5), (1, 3), (0, 1)])
def test_the_model_sees_as_many_turns_as_asked_for_and_the_training_all(
    tmp_path, files, monkeypatch, context_turns, longest
):
    """What is seen begins with a user's question that states the instruction; rows keep the whole dialogue."""

    seen = []
    monkeypatch.setattr(
        ModelSampler, "__call__", lambda self, contexts: seen.extend(contexts) or ["napoleon"] * len(contexts)
    )
    settings = {"num_dialogues": 2, "num_samples": 1, "max_turns": 3, "max_new_tokens": 60, "prefixes_per_dialogue": 3}
    output = run(synthesize, tmp_path, {**files, **settings, "context_turns": context_turns})
    assert max(map(len, seen)) == longest
    assert all(messages[0].role == "user" and "napoleon" in messages[0].content for messages in seen)
    rows = [row for _, row in read_rows(output / "conversations.jsonl")]
    assert [len(row["messages"]) for row in rows] == [1 + 2 * row["turn"] for row in rows]
    assert {row["turn"] for row in rows} == {1, 2, 3}


def stop_in_shard(monkeypatch, number, error):
    """Let the stage's shard of this number (from 1) raise `error`; return what notes the shards begun."""
    from gatt.synthesize import stage

    held, shards = stage.hold, []

    def stopped(plans, *given):
        shards.append(len(plans))
        if len(shards) == number:
            raise error
        return held(plans, *given)

    monkeypatch.setattr(stage, "hold", stopped)
    return shards


def test_a_killed_synthesis_takes_up_its_shards_and_ends_as_if_it_had_not_been(tmp_path, files, monkeypatch):
    settings = {"num_dialogues": 6, "max_new_tokens": 60, "max_turns": 2, "dialogues_per_shard": 2}
    whole = run(synthesize, tmp_path, {**files, **settings, "output_dir": str(tmp_path / "whole")})
    shards = stop_in_shard(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(synthesize, tmp_path, {**files, **settings})
    output = run(synthesize, tmp_path, {**files, **settings})
    assert shards == [2, 2, 2, 2]  # the third again, the first two not
    for name in ("conversations.jsonl", "transcripts.jsonl"):
        assert (output / name).read_text() == (whole / name).read_text()
    counts, expected = (json.loads((folder / "run.json").read_text())["counts"] for folder in (output, whole))
    assert counts == {**expected, "shards_resumed": 2}
    assert not (output / "shards").exists()


def test_a_checker_that_raises_late_leaves_the_finished_shards(tmp_path, files, monkeypatch):
    """Hours of sampling must not go because the checker meets a reply that it cannot read."""
    settings = {"num_dialogues": 4, "max_new_tokens": 60, "max_turns": 2, "dialogues_per_shard": 2}
    shards = stop_in_shard(monkeypatch, 2, InputError("checker toy_checkers.follows raised"))
    with pytest.raises(InputError, match="toy_checkers"):
        run(synthesize, tmp_path, {**files, **settings})
    output = run(synthesize, tmp_path, {**files, **settings})
    assert shards == [2, 2, 2]
    assert json.loads((output / "run.json").read_text())["counts"]["shards_resumed"] == 1


def test_finished_shards_are_not_thrown_away_by_other_settings(tmp_path, files, monkeypatch):
    settings = {**files, "num_dialogues": 4, "max_new_tokens": 60, "max_turns": 2, "dialogues_per_shard": 2}
    stop_in_shard(monkeypatch, 2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(synthesize, tmp_path, settings)
    with pytest.raises(InputError, match="temperature: was not given, is 0.3"):
        run(synthesize, tmp_path, {**settings, "temperature": 0.3})
    assert run(synthesize, tmp_path, settings)


@pytest.mark.slow
@pytest.mark.parametrize("together", ["1", "2"], ids=["a model each", "one model together"])
def test_two_processes_synthesize_what_one_does(tmp_path, files, together):
    settings = {"num_dialogues": 4, "max_new_tokens": 40, "max_turns": 2, "dialogues_per_shard": 3, "batch_tokens": 200}
    settings["dialogues_per_batch"] = 2
    alone = run(synthesize, tmp_path, {**files, **settings, "output_dir": str(tmp_path / "alone")})
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({**files, **settings, "output_dir": str(tmp_path / "two")}))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", TENSOR_PARALLEL: together}
    command = [*launch, "-m", "gatt.synthesize", "--config", str(tmp_path / "two.yaml")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert ran.returncode == 0, ran.stderr
    for name in ("conversations.jsonl", "transcripts.jsonl"):
        assert (tmp_path / "two" / name).read_text() == (alone / name).read_text()


def test_drawn_combinations_are_left_for_the_evaluation_to_refuse(tmp_path, files):
    settings = {"num_dialogues": 5, "max_new_tokens": 60, "max_turns": 1, "combinations": None}
    output = run(synthesize, tmp_path, {**files, **settings})
    rows = [row["constraints"] for _, row in read_rows(output / "combinations.jsonl")]
    assert len(rows) == 5
    written = [row["constraints"] for _, row in read_rows(output / "transcripts.jsonl")]
    assert sorted(map(str, rows)) == sorted(map(str, written))


SHORT = {"num_dialogues": 4, "max_new_tokens": 60}


def add_hobby(files) -> None:
    """Add a hobby to the constraints file, and to the combinations one of the hobby and napoleon."""
    path = Path(files["constraints"])
    hobby = {
        "kind": "hobby",
        "value": "tennis",
        "verbose": ["you enjoy tennis."],
        "terse": "hobby: tennis.",
        "ask": ["which hobby?"],
    }
    path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), hobby]))
    figure = {"kind": "figure", "value": "napoleon"}
    rows = [{"constraints": [figure]}, {"constraints": [figure, {"kind": "hobby", "value": "tennis"}]}]
    write_rows(files["combinations"], rows)


@pytest.mark.parametrize("drawn", [False, True])
def test_a_kind_left_out_is_nowhere_in_the_training(tmp_path, files, drawn):
    add_hobby(files)
    source = {"combinations": None} if drawn else {}
    output = run(synthesize, tmp_path, {**files, **source, **SHORT, "max_turns": 1, "leave_out": ["hobby"]})
    for name in ("combinations.jsonl", "transcripts.jsonl"):
        rows = [row for _, row in read_rows(output / name)]
        assert rows and "hobby" not in str([row["constraints"] for row in rows])
    assert json.loads((output / "run.json").read_text())["counts"]["combinations_left_out"] == (0 if drawn else 1)


def test_a_kind_by_itself_is_measured_and_named_as_not_trained(tmp_path, files):
    add_hobby(files)
    with_checker(files, "toy_checkers.follows")
    kind = {"combinations": None, "kinds": ["hobby"], "training_combinations": str(tmp_path / "cleopatra.jsonl")}
    output = run(evaluate, tmp_path, {**files, **kind, **SHORT, "turns": [1]})
    assert json.loads((output / "run.json").read_text())["metrics"]["kinds_not_trained"] == ["hobby"]
    asked_for = [row["constraints"] for _, row in read_rows(output / "dialogues.jsonl")]
    assert asked_for == [[{"kind": "hobby", "value": "tennis"}]] * 4


@pytest.mark.parametrize(
    ("command", "settings", "complaint"),
    [
        (synthesize, {"leave_out": ["figur"]}, "leave_out, .*: no kind 'figur' .did you mean 'figure'"),
        (synthesize, {"leave_out": ["figure"]}, "leave_out: found figure; expected a kind less"),
        (synthesize, {"leave_out": ["figure"], "combinations": None}, "leave_out: found figure; expected a kind less"),
        (evaluate, {"kinds": ["hobby"], "combinations": None}, "kinds, .*: no kind 'hobby'; expected some of figure"),
        (evaluate, {"kinds": ["figure"]}, "combinations: expected a file of them, or kinds"),
        (evaluate, {"combinations": None}, "combinations: expected a file of them, or kinds"),
    ],
)
def test_kinds_that_cannot_be_left_out_or_measured_are_named(tmp_path, files, command, settings, complaint):
    with pytest.raises(InputError, match=complaint):
        run(command, tmp_path, {**files, **settings})


def test_a_template_without_system_role_states_the_instruction_in_the_first_message_and_says_so_once(
    tmp_path, files, model_folder
):
    bare = tmp_path / "bare"
    shutil.copytree(model_folder, bare)
    template = "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
    (bare / "chat_template.jinja").write_text(template + "{{ m['content'] }}{{ eos_token }}{% endfor %}")
    with pytest.warns(UserWarning, match="no system role") as warned:
        output = run(synthesize, tmp_path, {**files, **SHORT, "max_turns": 2, "model_name_or_path": str(bare)})
    assert sum("no system role" in str(each.message) for each in warned) == 1
    assert json.loads((output / "run.json").read_text())["metrics"]["instruction_as"] == "prefix"
    for _, row in read_rows(output / "conversations.jsonl"):
        first, *others = row["messages"]
        assert first == {"role": "user", "content": f"{row['instruction']} who are you?"}
        assert row["instruction"] not in str(others)


@pytest.mark.parametrize("command", [synthesize, evaluate])
def test_a_context_shorter_than_the_instruction_is_said_before_anything_is_sampled(tmp_path, files, command):
    with_checker(files, "toy_checkers.follows")
    with pytest.raises(InputError, match="context of 700 tokens does not hold instruction and first question"):
        run(command, tmp_path, {**files, "max_new_tokens": 695})


@pytest.mark.parametrize(
    ("roles", "complaint"),
    [(["assistant", "user", "assistant"], "'user'"), (["user", "assistant", "user"], "'assistant' at the end")],
)
def test_dialogues_out_of_turn_are_refused_by_line(tmp_path, files, roles, complaint):
    messages = [{"role": role, "content": "hello"} for role in roles]
    write_rows(tmp_path / "dialogues.jsonl", [{"messages": messages}])
    with pytest.raises(InputError, match=f"dialogues.jsonl:1: .*{complaint}"):
        run(synthesize, tmp_path, files)


def test_every_scenario_is_measured_and_leaves_its_transcripts(tmp_path, files):
    with_checker(files, "toy_checkers.follows")
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": [{"role": "user", "content": "is it late?"}]}])
    scenarios = ["implicit", "distractors", "override", "no_instruction"]
    settings = {"num_dialogues": 2, "max_new_tokens": 5, "turns": [2, 5], "temperature": 0.0, "scenarios": scenarios}
    more = {"distractors": str(tmp_path / "prompts.jsonl"), "override_turn": 4, "extend_dialogues": True}
    output = run(evaluate, tmp_path, {**files, **settings, **more})
    record = json.loads((output / "run.json").read_text())
    measured = record["metrics"]["scenarios"]
    assert set(measured) == set(scenarios)
    assert record["metrics"]["turns"] == measured["implicit"]["turns"]
    assert all(list(each["turns"]) == ["2", "5"] == list(each["by_kind"]["figure"]) for each in measured.values())
    assert record["counts"]["dialogues_too_short"] == 0  # three questions each, gone on with
    said = {
        name: [row["messages"] for _, row in read_rows(output / f"dialogues{name}.jsonl")]
        for name in ("", "_distractors", "_override", "_no_instruction")
    }
    assert all(messages[0]["role"] == "system" for messages in said[""])
    assert all("napoleon" not in str(messages[::2]) for messages in said["_no_instruction"])
    assert [message["content"] for message in said["_distractors"][0][1::2]] == ["is it late?", "who are you?"] + [
        "is it late?"
    ] * 2 + ["who are you?"]
    assert all("cleopatra. who are you?" in messages[7]["content"] for messages in said["_override"])


def test_constraints_without_checker_are_judged_at_the_measured_turns(tmp_path, files, monkeypatch):
    asked = []

    def judge(requests):
        asked.append(requests)
        return [True, None][: len(requests)]

    monkeypatch.setattr(sys.modules["toy_checkers"], "judge", judge, raising=False)
    settings = {"num_dialogues": 2, "max_new_tokens": 5, "turns": [1, 3], "judge": "toy_checkers.judge"}
    turns = json.loads((run(evaluate, tmp_path, {**files, **settings}) / "run.json").read_text())["metrics"]["turns"]
    assert [len(requests) for requests in asked] == [2, 2]  # turns 1 and 3, both dialogues at once
    assert asked[0][0].statement == "act as napoleon." and asked[0][0].question == "who are you?"
    assert {turn: (each["adherence"], each["count"]) for turn, each in turns.items()} == {"1": (1.0, 1), "3": (1.0, 1)}


def test_a_model_that_never_follows_leaves_one_clear_line_and_no_folder(tmp_path, files):
    with_checker(files, "toy_checkers.follows")
    with pytest.raises(InputError, match="none of 3 dialogues held its instruction"):
        run(synthesize, tmp_path, {**files, "num_dialogues": 3, "max_new_tokens": 20, "num_samples": 1})
    assert not list(tmp_path.glob("output*"))


def test_evaluation_records_adherence_by_turn(tmp_path, files):
    with_checker(files, "toy_checkers.follows")
    settings = {
        "num_dialogues": 5,
        "max_new_tokens": 10,
        "turns": [1, 3],
        "temperature": 0.0,
        "instruction_as": "prefix",
    }
    output = run(evaluate, tmp_path, {**files, **settings})
    turns = json.loads((output / "run.json").read_text())["metrics"]["turns"]
    assert list(turns) == ["1", "3"]
    assert turns["3"] == pytest.approx({"adherence": 0.0, "count": 5, "low": 0.0, "high": 0.4345}, abs=1e-4)
    (_, first), *rest = read_rows(output / "dialogues.jsonl")
    assert len(rest) == 4
    assert first["messages"][0]["content"].endswith("napoleon. who are you?")
    assert first["messages"][2]["content"] == "who are you?"
    assert first["follows"] == [False] * 3


def test_a_full_context_is_counted_and_the_turns_before_it_measured(tmp_path, files):
    with_checker(files, "toy_checkers.follows")
    settings = {"num_dialogues": 2, "max_new_tokens": 650, "turns": [1, 3], "temperature": 0.0}
    output = run(evaluate, tmp_path, {**files, **settings})
    record = json.loads((output / "run.json").read_text())
    assert list(record["metrics"]["turns"]) == ["1"]
    assert record["counts"]["dialogues_context_full"] == 2


def test_combinations_seen_in_training_are_refused(tmp_path, files):
    with_checker(files, "toy_checkers.follows")
    with pytest.raises(InputError, match="also occur in training"):
        run(evaluate, tmp_path, {**files, "training_combinations": files["combinations"]})
    other = str(tmp_path / "cleopatra.jsonl")
    settings = {"training_combinations": other, "num_dialogues": 1, "turns": [1], "max_new_tokens": 5}
    assert (run(evaluate, tmp_path, {**files, **settings}) / "run.json").exists()


def test_adherence_cannot_be_measured_without_a_checker(tmp_path, files):
    with pytest.raises(InputError, match="figure 'napoleon': no checker"):
        run(evaluate, tmp_path, files)


@pytest.mark.parametrize(
    "setting",
    [
        {"turns": [0, 2]},
        {"num_dialogues": 0},
        {"temprature": 1.0},
        {"scenarios": ["explicitly"]},
        {"distractors": None, "scenarios": ["distractors"]},
        {"override_turn": 1, "scenarios": ["override"]},
        {"judge": "toy_checkers.missing"},
    ],
)
def test_bad_settings_are_refused(tmp_path, files, setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        run(evaluate, tmp_path, {**files, **setting})
