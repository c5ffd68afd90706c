"""The stage: best of K under the current reward models, the sweep over temperatures, shards that survive a kill."""

import json
import os
import subprocess
import sys

import pytest
import torch

from chat_model.conversation import Message, Prompt
from chat_model.errors import InputError
from chat_model.rows import read_rows, write_rows
from reward_model.scoring import RewardScorer
from rlhf.rejection_sampling import sampling
from rlhf.rejection_sampling.__main__ import main
from tests.warm_commands import kill_group

PROMPTS = [Prompt((Message("user", f"question {number}"),), is_safety=number == 0) for number in range(6)]


@pytest.fixture
def options(tiny_checkpoint, tiny_reward_checkpoint, tmp_path):
    """A random policy seldom stops, so what it is cut off in counts too."""
    write_rows(tmp_path / "prompts.jsonl", (prompt.to_row() for prompt in PROMPTS))
    return [
        f"--model_name_or_path={tiny_checkpoint}",
        f"--helpfulness_reward_model={tiny_reward_checkpoint}",
        f"--safety_reward_model={tiny_reward_checkpoint}",
        f"--prompts={tmp_path / 'prompts.jsonl'}",
        "--num_samples=4",
        "--max_new_tokens=6",
        "--keep_cut_off=true",
        "--prompts_per_shard=2",
        "--round=V1",
    ]


def rows_of(folder, name):
    return [row for _, row in read_rows(folder / name)]


@pytest.fixture
def one_thread():
    """As many threads as each of two processes has: a sum over more of them goes in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_of(folder):
    return json.loads((folder / "run.json").read_text())


def test_the_stage_keeps_the_highest_reward(options, tmp_path):
    main([*options, f"--output_dir={tmp_path / 'v1'}"])
    samples, pool = rows_of(tmp_path / "v1", "samples.jsonl"), rows_of(tmp_path / "v1", "pool.jsonl")
    counts, metrics = (run_of(tmp_path / "v1")[part] for part in ("counts", "metrics"))
    assert counts["samples"] == len(samples) == 24 and counts["kept"] == 6 and counts["pool"] == len(pool)
    assert counts["pool"] + sum(counts[name] for name in counts if name.startswith("dropped")) == 24
    answers = [row["messages"][-1]["content"] for row in rows_of(tmp_path / "v1", "conversations.jsonl")]
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        rivals = [row for row in samples if row["prompt"] == prompt.to_row()["prompt"] and row["response"]]
        assert answer == max(rivals, key=lambda row: row["reward"])["response"]
    assert all(row["round"] == "V1" and row["reward"] == row["scores"]["safety"] for row in pool)  # one model twice
    assert len(metrics["reward_by_n"]["n"]) == 4 and metrics["temperature"] == [1.2]
    assert metrics["reward_by_n"]["max"][-1] > metrics["mean_reward"]
    assert not (tmp_path / "v1" / "shards").exists()


def test_earlier_winners_are_scored_anew_and_compete(options, tmp_path):
    """A remembered response comes with an absurd reward; what counts is today's reward model."""
    remembered = {**PROMPTS[0].to_row(), "response": "the fox is red.", "reward": 1e9, "round": "V0"}
    elsewhere = Prompt((Message("user", "asked only before"),)).to_row()
    write_rows(tmp_path / "old.jsonl", [remembered, {**elsewhere, "response": "yes.", "round": "V0"}])
    main([*options, f"--output_dir={tmp_path / 'v1'}", f"--pool={tmp_path / 'old.jsonl'}"])
    pool, run = rows_of(tmp_path / "v1", "pool.jsonl"), run_of(tmp_path / "v1")
    assert all(row["reward"] < 1e6 for row in pool) and pool[-1]["response"] == "yes."
    assert run["counts"]["kept"] == 7 and run["counts"]["remembered"] == 2
    assert run["counts"]["kept_from_earlier_rounds"] == run["counts"]["kept_by_round"]["V0"] >= 1
    assert run["metrics"]["mean_reward_remembered_before"] == 1e9
    assert run["metrics"]["mean_reward_remembered_now"] < 1e6


def test_the_sweep_decides_the_temperature(options, tmp_path):
    main([*options, f"--output_dir={tmp_path / 'v1'}", "--tune_temperature", "0.5", "1.5", "--tuning_prompts=3"])
    metrics = run_of(tmp_path / "v1")["metrics"]
    sweep = metrics["temperature_sweep"]
    assert sweep["prompts"] == 3 and sweep["temperature"] == [0.5, 1.5] and sweep["n"] == [1, 2, 3, 4]
    at_k = [curve[-1] for curve in sweep["max"]]
    assert sweep["chosen"] == sweep["temperature"][at_k.index(max(at_k))]
    assert {row["temperature"] for row in rows_of(tmp_path / "v1", "samples.jsonl")} == {sweep["chosen"]}


def test_several_temperatures_share_the_samples(options, tmp_path):
    main([*options, f"--output_dir={tmp_path / 'v1'}", "--temperature", "0.5", "1.5"])
    samples = rows_of(tmp_path / "v1", "samples.jsonl")
    assert [row["temperature"] for row in samples] == [0.5, 0.5, 1.5, 1.5] * 6
    metrics = run_of(tmp_path / "v1")["metrics"]
    cold, hot = metrics["by_temperature"]
    assert cold["n"] == [1, 2] and cold["max"] != hot["max"] and metrics["reward_by_n"]["n"] == [1, 2, 3, 4]


def grade(prompt, response):
    """The judge of these tests: short is good."""
    return {"helpfulness": 1.0 / (1 + len(response)), "beside the point": 7.0}


def test_a_judge_draws_its_own_curve_and_chooses_nothing(options, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.quickstart.rules.judge", grade)
    main([*options, f"--output_dir={tmp_path / 'plain'}"])
    main([*options, f"--output_dir={tmp_path / 'judged'}", "--judge=recipes.quickstart.rules.judge"])
    curve = run_of(tmp_path / "judged")["metrics"]["judged_by_n"]
    samples = rows_of(tmp_path / "judged", "samples.jsonl")
    grades = [1.0 / (1 + len(row["response"])) for row in samples]
    assert curve["mean"][0] == pytest.approx(sum(grades) / 24) and curve["chosen"][0] == pytest.approx(curve["mean"][0])
    best = [max(range(start, start + 4), key=lambda index: samples[index]["reward"]) for start in range(0, 24, 4)]
    assert curve["chosen"][-1] == pytest.approx(sum(grades[index] for index in best) / 6)
    assert rows_of(tmp_path / "judged", "pool.jsonl") == rows_of(tmp_path / "plain", "pool.jsonl")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--temperature", "0.5", "1.0", "1.5"], "temperature: found 3 for num_samples=4"),
        (["--tune_temperature", "1.0", "1.0"], r"tune_temperature: found \[1.0, 1.0\]; expected different positive"),
        (["--keep_per_prompt=9"], "pool_per_prompt: found 4; expected at least keep_per_prompt=9"),
        (["--safety_threshold=15"], "safety_threshold: found 15.0; expected a probability"),
        (["--prompts_per_shard=0"], "prompts_per_shard: found 0; expected a positive number"),
        (["--judge=recipes.nowhere.judge"], "'recipes.nowhere.judge' cannot be imported"),
        (["--safety_reward_model=/nowhere"], "/nowhere: no tokenizer can be loaded"),
        (["--max_new_tokens=2048"], "no prompt has at most 0 tokens"),
    ],
)
def test_mistakes_are_found_before_anything_is_sampled(options, tmp_path, monkeypatch, option, message):
    monkeypatch.setattr(sampling, "sample", lambda *_, **__: pytest.fail("sampled"))
    with pytest.raises(InputError, match=message):
        main([*options, f"--output_dir={tmp_path / 'v1'}", *option])


def test_nothing_worth_keeping_is_said_with_its_reasons(options, tmp_path):
    with pytest.raises(InputError, match=r"none of 24 responses is kept \(.*dropped_below_min_reward"):
        main([*options, f"--output_dir={tmp_path / 'v1'}", "--min_reward=1e6"])


def test_a_prompt_too_long_is_left_out_and_counted(options, tmp_path):
    long = Prompt((Message("user", "where does the owl live? " * 400),))
    write_rows(tmp_path / "prompts.jsonl", (prompt.to_row() for prompt in [long, *PROMPTS]))
    main([*options, f"--output_dir={tmp_path / 'v1'}"])
    counts = run_of(tmp_path / "v1")["counts"]
    assert (counts["prompts"], counts["prompts_too_long"], counts["samples"]) == (6, 1, 24)


FILES = ("samples.jsonl", "pool.jsonl", "conversations.jsonl")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


class Killed(Exception):
    """Stands for SIGKILL: nothing handles it, and nothing is cleaned up after it."""


@pytest.fixture
def kill_after(monkeypatch):
    """Let a run be killed after so many calls of `sample`; yields the seeds of the calls since."""
    seeds, plain = [], sampling.sample

    def prepare(num_calls):
        seeds.clear()

        def sample(*arguments, **settings):
            if len(seeds) == num_calls:
                raise Killed
            seeds.append(settings["seed"])
            return plain(*arguments, **settings)

        monkeypatch.setattr(sampling, "sample", sample)
        return seeds

    return prepare


def test_a_killed_run_continues_without_sampling_again(options, tmp_path, kill_after):
    sweep = ["--tune_temperature", "0.5", "1.5", "--tuning_prompts=2"]
    main([*options, f"--output_dir={tmp_path / 'quiet'}", *sweep])
    before = kill_after(4)  # two of the sweep, two of the three shards
    with pytest.raises(Killed):
        main([*options, f"--output_dir={tmp_path / 'killed'}", *sweep])
    (tmp_path / "killed.partial" / "shards" / ".samples-00002.jsonl.1.partial").write_text('{"resp')
    first = set(before)
    since = kill_after(100)
    main([*options, f"--output_dir={tmp_path / 'killed'}", *sweep])
    assert len(since) == 1 and not first & set(since), "only the last shard is drawn, from a seed of its own"
    assert contents(tmp_path / "killed") == contents(tmp_path / "quiet")
    assert run_of(tmp_path / "killed")["metrics"] == run_of(tmp_path / "quiet")["metrics"]


@pytest.fixture
def scored(monkeypatch):
    """How many texts every forward pass of a reward model has scored, and no more than `scored.limit` passes."""

    class Notes(list):
        limit = 10**9

    notes, plain = Notes(), RewardScorer._score_batch

    def score_batch(scorer, groups):
        if len(notes) == notes.limit:
            raise Killed
        notes.append(sum(map(len, groups)))
        return plain(scorer, groups)

    monkeypatch.setattr(RewardScorer, "_score_batch", score_batch)
    return notes


def test_a_run_killed_while_scoring_scores_nothing_again(options, tmp_path, scored):
    small = [*options, "--score_batch_tokens=80"]
    main([*small, f"--output_dir={tmp_path / 'quiet'}"])
    total, scored.limit = sum(scored), len(scored) // 2 + 1
    scored.clear()
    with pytest.raises(Killed):
        main([*small, f"--output_dir={tmp_path / 'killed'}"])
    scored.limit = 10**9
    main([*small, f"--output_dir={tmp_path / 'killed'}"])
    assert sum(scored) == total
    assert contents(tmp_path / "killed") == contents(tmp_path / "quiet")


def test_a_shared_cache_spares_the_pool_its_scores(options, tmp_path, scored):
    """The reward models of the next round are the same here, so what is remembered has its scores already."""
    shared = [*options, f"--score_cache={tmp_path / 'scores'}"]
    main([*shared, f"--output_dir={tmp_path / 'v1'}"])
    first = sum(scored)
    scored.clear()
    pool = f"--pool={tmp_path / 'v1' / 'pool.jsonl'}"
    main([*shared, f"--output_dir={tmp_path / 'v2'}", pool])
    assert first > 0 and sum(scored) == 0, "the same samples again, and the pool"
    assert run_of(tmp_path / "v2")["counts"]["remembered"] > 0


def plant(partial, text):
    """Put `text` into a finished shard: where it comes out again, the shard was found and not made anew."""
    shard = partial / "shards" / "samples-00000.jsonl"
    first, *rest = (row for _, row in read_rows(shard))
    write_rows(shard, [{**first, "response": text}, *rest])


def test_a_run_that_the_system_killed_finds_its_shards_and_the_scores_of_one(options, tmp_path, warm_commands):
    """A real SIGKILL between two shards; a finished one that is altered shows whether it was drawn again."""
    stage, log = "rlhf.rejection_sampling.__main__", tmp_path / "log"
    options = [*options, "--prompts_per_shard=1", "--num_samples=32"]
    partial = tmp_path / "killed.partial"
    assert warm_commands.run(stage, *options, f"--output_dir={tmp_path / 'quiet'}", log=log) == 0, log.read_text()
    process = warm_commands.start(stage, *options, f"--output_dir={tmp_path / 'killed'}", log=log)
    while not (partial / "shards" / "samples-00001.jsonl").exists():
        assert process.is_alive(), log.read_text()
    kill_group(process)
    assert not (partial / "shards" / "samples-00005.jsonl").exists(), "it was killed before the last shard"
    plant(partial, "the owl is planted")
    assert warm_commands.run(stage, *options, f"--output_dir={tmp_path / 'killed'}", log=log) == 0, log.read_text()
    quiet, killed = (
        [row["response"] for row in rows_of(tmp_path / name, "samples.jsonl")] for name in ("quiet", "killed")
    )
    assert killed[0] == "the owl is planted" and killed[1:] == quiet[1:]


def test_two_processes_end_with_the_files_of_one(options, tmp_path, kill_after, one_thread):
    """Both continue a killed run; on two processes the finished shards reach each of them, from the main one."""
    many = [*options, "--batch_tokens=60", "--tune_temperature", "0.5", "1.5", "--tuning_prompts=2"]
    for name in ("one", "two"):
        kill_after(3)  # two of the sweep, one of the three shards
        with pytest.raises(Killed):
            main([*many, f"--output_dir={tmp_path / name}"])
        plant(tmp_path / f"{name}.partial", "the owl is planted")
    kill_after(100)
    main([*many, f"--output_dir={tmp_path / 'one'}"])
    # Not `accelerate launch --cpu --num_processes 2`: without MPI it starts a single process and says nothing.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, "-m", "rlhf.rejection_sampling", *many, f"--output_dir={tmp_path / 'two'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert rows_of(tmp_path / "two", "samples.jsonl")[0]["response"] == "the owl is planted"
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert run_of(tmp_path / "two")["metrics"] == run_of(tmp_path / "one")["metrics"]
