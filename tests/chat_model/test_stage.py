"""What surrounds a stage: configuration faults, the output folder whole or absent, resume, fingerprints."""

import json
import sys
from dataclasses import dataclass, field
from typing import Literal

import pytest

from chat_model.config import parse_configs
from chat_model.errors import InputError
from chat_model.stage import CACHE_TAG, DryRun, _sizes, find_inputs, fingerprint, run_as_command, run_stage


@dataclass
class ToyConfig:
    """A stage's configuration."""

    output_dir: str = ""
    data: str | None = None
    rate: float = 0.5
    kind: Literal["one", "two"] = "one"
    names: list[str] = field(default_factory=list)
    flag: bool = False
    seed: int = 0


def run(stage, *argv):
    run_stage("toy", (ToyConfig,), stage, list(argv))


def write_yaml(tmp_path, text):
    (tmp_path / "toy.yaml").write_text(text)
    return str(tmp_path / "toy.yaml")


def test_yaml_and_command_line_merge(tmp_path):
    file = write_yaml(tmp_path, "rate: 1e-3\nnames: [a, b]\nflag: true\ndata: null\n")
    (config,), arguments = parse_configs("toy", (ToyConfig,), ["--config", file, "--kind", "two", "--rate=0.25"])
    assert config == ToyConfig(rate=0.25, kind="two", names=["a", "b"], flag=True)
    assert arguments == {"rate": 0.25, "names": ["a", "b"], "flag": True, "data": None, "kind": "two"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raet: 1\n", "toy.yaml: unknown key 'raet' (did you mean 'rate'?)"),
        ("rate: fast\n", "argument --rate: invalid float value: 'fast'"),
        ("kind: three\n", "argument --kind: invalid choice: 'three'"),
        ("- a\n", "toy.yaml: found list; expected a mapping"),
        ("a: [\n", "toy.yaml: not YAML"),
        ("data: !!python/object/apply:os.getcwd []\n", "toy.yaml: not YAML"),
    ],
)
def test_bad_yaml(tmp_path, text, message):
    with pytest.raises(InputError) as raised:
        parse_configs("toy", (ToyConfig,), ["--config", write_yaml(tmp_path, text)])
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_missing_file_and_unknown_option(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml: cannot be read \(No such file"):
        parse_configs("toy", (ToyConfig,), ["--config", str(tmp_path / "none.yaml")])
    with pytest.raises(InputError, match=r"toy: unknown key 'naems' \(did you mean 'names'\?\)"):
        parse_configs("toy", (ToyConfig,), ["--naems", "x"])


def test_trl_configs_start_on_a_cpu():
    from trl import SFTConfig

    (config,), _ = parse_configs("sft", (SFTConfig,), ["--output_dir", "x"])
    assert config.bf16 is False and config.use_cpu and config.report_to == []
    assert config.ddp_timeout == 24 * 60 * 60  # the others wait while the main process merges and saves


def test_output_is_whole_and_recorded(tmp_path):
    (tmp_path / "data.txt").write_text("x")

    def stage(run, config):
        assert run.folder == tmp_path / "out.partial" and config.output_dir == str(run.folder)
        (run.folder / "result").write_text("done")
        run.count(rows=3)
        run.record(loss=0.5)
        run.log({"step": 1})

    run(stage, f"--output_dir={tmp_path}/out", f"--data={tmp_path}/data.txt")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["metrics.jsonl", "result", "run.json"]
    assert not (tmp_path / "out.partial").exists()
    assert record["arguments"] == {"data": f"{tmp_path}/data.txt"} and record["config"]["rate"] == 0.5
    assert record["inputs"] == {f"{tmp_path}/data.txt": fingerprint(tmp_path / "data.txt")}
    assert (record["counts"], record["metrics"]) == ({"rows": 3}, {"loss": 0.5})
    assert "torch" in record["versions"]


def test_bad_input_leaves_nothing_and_a_crash_leaves_only_the_partial_folder(tmp_path):
    def refuses(run, config):
        raise InputError("a.jsonl:1: bad")

    def crashes(run, config):
        raise OSError("No space left on device")

    with pytest.raises(InputError):
        run(refuses, f"--output_dir={tmp_path}/out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError):
        run(crashes, f"--output_dir={tmp_path}/out")
    assert [each.name for each in tmp_path.iterdir()] == ["out.partial"]


def test_a_file_that_a_kill_left_half_written_does_not_reach_the_output(tmp_path):
    def dies(run, config):
        (run.folder / ".rows.jsonl.123.partial").write_text('{"half')
        raise KeyboardInterrupt

    def ends(run, config):
        assert run.resumed
        (run.folder / "rows.jsonl").write_text("{}")

    with pytest.raises(KeyboardInterrupt):
        run(dies, f"--output_dir={tmp_path}/out")
    run(ends, f"--output_dir={tmp_path}/out")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["rows.jsonl", "run.json"]


def test_killed_stage_finds_its_folder_again_unless_the_arguments_changed(tmp_path):
    seen = []

    def dies(run, config):
        seen.append((run.resumed, (run.folder / "half").exists()))
        (run.folder / "half").write_text("x")
        raise KeyboardInterrupt

    for argv in (["--rate=1"], ["--rate=1"], ["--rate=2"]):
        with pytest.raises(KeyboardInterrupt):
            run(dies, f"--output_dir={tmp_path}/out", *argv)
    assert seen == [(False, False), (True, True), (False, False)]


def test_killed_stage_starts_anew_when_an_input_changed(tmp_path):
    (tmp_path / "data.txt").write_text("one")
    seen = []

    def dies(run, config):
        seen.append(run.resumed)
        raise KeyboardInterrupt

    for text in ("one", "one", "two"):
        (tmp_path / "data.txt").write_text(text)
        with pytest.raises(KeyboardInterrupt):
            run(dies, f"--output_dir={tmp_path}/out", f"--data={tmp_path}/data.txt")
    assert seen == [False, True, False]


def test_a_new_run_replaces_the_old_output(tmp_path):
    for name in ("old", "new"):
        run(lambda run, config, name=name: (run.folder / name).write_text("x"), f"--output_dir={tmp_path}/out")
    assert (tmp_path / "out" / "new").exists() and not (tmp_path / "out" / "old").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_dry_run_parses_the_configuration_and_leaves_nothing(tmp_path):
    def stage(run, config):
        raise AssertionError("the stage was run")

    with pytest.raises(DryRun, match="toy: the configuration is valid") as end:
        run(stage, "--dry_run", f"--output_dir={tmp_path / 'out'}", "--rate=0.25")
    assert end.value.configs == (ToyConfig(output_dir=str(tmp_path / "out"), rate=0.25),)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="unknown key 'raet'"):
        run(stage, "--dry_run", f"--output_dir={tmp_path / 'out'}", "--raet=1")


def test_a_dry_run_as_a_command_says_so_and_ends_well(capsys):
    def main():
        raise DryRun("toy", ())

    run_as_command(main)
    assert capsys.readouterr().out == "toy: the configuration is valid; nothing was run\n"


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="holds files that no stage of ours wrote"):
        run(lambda run, config: None, f"--output_dir={tmp_path}/out")
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_another_stages_output_is_refused(tmp_path):
    run_stage("first", (ToyConfig,), lambda run, config: None, [f"--output_dir={tmp_path}/out"])
    with pytest.raises(InputError, match="holds the output of stage 'first', not 'toy'"):
        run(lambda run, config: None, f"--output_dir={tmp_path}/out")


def test_missing_output_dir():
    with pytest.raises(InputError, match="toy: output_dir is missing"):
        run(lambda run, config: None)


def test_fingerprints(tmp_path):
    file, folder = tmp_path / "a.txt", tmp_path / "folder"
    file.write_text("one")
    folder.mkdir()
    (folder / "b.txt").write_text("b")
    before = fingerprint(file), fingerprint(folder)
    file.write_text("two")
    (folder / "b.txt").write_text("c")
    assert fingerprint(file) != before[0] and fingerprint(folder) != before[1]
    (folder / "run.json").write_text("{}")
    of_run = fingerprint(folder)
    (folder / "b.txt").write_text("d")
    assert fingerprint(folder) == of_run == fingerprint(folder / "b.txt")


def test_a_cache_is_no_input(tmp_path):
    """It changes with every run: counted as an input, it would make every step that uses it out of date at once."""
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "scores.sqlite3").write_text("1")
    arguments = {"score_cache": str(tmp_path / "scores")}
    assert find_inputs(arguments)
    (tmp_path / "scores" / CACHE_TAG).write_text("")
    assert find_inputs(arguments) == {}


@pytest.mark.parametrize("error", [InputError("bad"), RuntimeError("a fault")])
def test_a_command_that_fails_leaves_its_process_group(tmp_path, monkeypatch, error):
    """Or gloo's threads outlive it, and now and then the process aborts instead of saying what was wrong."""
    from torch import distributed

    from chat_model.stage import run_as_command

    def main():
        distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
        raise error

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("os._exit", sys.exit)  # what ends a command of several processes at once
    with pytest.raises((SystemExit, RuntimeError)) as ended:
        run_as_command(main)
    assert not distributed.is_initialized()
    assert not isinstance(error, InputError) or ended.value.code == 2


def test_user_mistakes_end_with_one_line_and_code_2(capsys):
    from chat_model.stage import run_as_command

    def main():
        raise InputError("a.jsonl:3: bad")

    with pytest.raises(SystemExit) as exited:
        run_as_command(main)
    assert exited.value.code == 2 and capsys.readouterr().err == "error: a.jsonl:3: bad\n"


def test_a_trainers_checkpoints_are_not_what_makes_a_stage_whole(tmp_path):
    """`rounds clean` removes them; a step that counted them would run again."""
    (tmp_path / "checkpoint-20").mkdir()
    for file in ("checkpoint-20/optimizer.pt", "model.safetensors", "run.json"):
        (tmp_path / file).write_text("bytes")
    assert _sizes(tmp_path) == {"model.safetensors": 5}
