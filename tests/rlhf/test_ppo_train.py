"""The whole stage on a tiny model: what it writes, what it refuses, the best policy kept, and two processes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from chat_model.conversation import Message, Prompt
from chat_model.rows import write_rows
from rlhf.ppo.__main__ import main
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.models.interface import Scorers, TrainedModels


def weights(folder) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_the_command_writes_a_policy_and_every_metric(settings, read_metrics, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    main([*(f"--{name}={value}" for name, value in settings.items()), f"--output_dir={tmp_path / 'out'}"])
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    AutoTokenizer.from_pretrained(tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoints").exists()
    rows = read_metrics(tmp_path / "out")
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    first = rows[0]
    assert first["kl_k1"] == pytest.approx(0.0, abs=1e-4) and first["kl_k3"] == pytest.approx(0.0, abs=1e-6)
    assert rows[1]["kl_k1"] == pytest.approx(0.0, abs=1e-4), "the policy moved during the critic's warm-up"
    assert rows[3]["kl_k3"] > 1e-6, "the policy never moved"
    branches = [first[f"branch_{name}"] for name in ("safety_tag", "unsafe_gate", "helpfulness")]
    assert sum(branches) == pytest.approx(1.0)
    assert first["entropy"] == pytest.approx(math.log(400), rel=0.05), (
        "a random model is nearly uniform over its tokens"
    )
    assert first["reward_after_kl"] == pytest.approx(first["reward"] - 0.01 * first["kl_k1"], abs=1e-6)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["counts"] == {"prompts_read": 15, "prompts_kept": 15, "prompts_too_long": 0, "prompts_safety": 3}


def test_the_defaults_are_the_papers():
    config = PPOConfig()
    assert (config.batch_size, config.mini_batch_size, config.num_epochs) == (512, 64, 1)
    assert (config.clip_range, config.learning_rate, config.kl_coefficient) == (0.2, 1e-6, 0.01)
    assert (config.adam_beta1, config.adam_beta2, config.adam_epsilon) == (0.9, 0.95, 1e-5)
    assert (config.weight_decay, config.max_grad_norm, config.safety_threshold) == (0.1, 1.0, 0.15)
    assert config.kl_target is None, "the paper's beta is constant"


def test_a_prompt_of_several_turns_is_answered_in_its_context(settings, scorers, run_into, tmp_path):
    turns = (Message("system", "be brief"), Message("user", "hi"), Message("assistant", "no"), Message("user", "why?"))
    write_rows(tmp_path / "prompts.jsonl", [Prompt(turns).to_row()])
    read = []

    def remember(conversations):
        read.extend(conversations)
        return scorers.helpfulness(conversations)

    run_into(tmp_path / "out", {**settings, "num_iterations": 1}, Scorers(remember, scorers.safety))
    assert all(conversation[:-1] == turns and conversation[-1].role == "assistant" for conversation in read)


def test_with_the_samplers_log_probs_the_run_is_the_same_in_fewer_passes(
    settings, scorers, run_into, read_metrics, tmp_path, monkeypatch
):
    """The policy reads a batch twice less its check (sampling aside): once in each update instead of before it, too."""
    passes: dict[str, int] = {}
    forward = TrainedModels.forward
    for source in ("trainer", "sampler"):

        def count(module, *inputs, source=source, part=None, **options):
            passes[source] = passes.get(source, 0) + (part != "critic") * len(inputs[0])
            return forward(module, *inputs, part=part, **options)

        monkeypatch.setattr(TrainedModels, "forward", count)
        changes = {"old_log_probs": source, "save_every": 0, "sampler_check_rows": 2}
        run_into(tmp_path / source, {**settings, **changes}, scorers)
    trainer, sampler = (read_metrics(tmp_path / source) for source in ("trainer", "sampler"))
    for mine, other in zip(sampler, trainer, strict=True):
        for name in ("kl_k1", "entropy", "reward_after_kl", "policy_loss", "value_loss", "ratio", "response_length"):
            assert mine[name] == pytest.approx(other[name], abs=2e-5), name
        assert mine["sampler_mismatch"] < 1e-5
    assert any(row["sampler_mismatch"] for row in sampler)  # rounding now and then; never, where nothing is compared
    torch.testing.assert_close(weights(tmp_path / "sampler"), weights(tmp_path / "trainer"), atol=1e-5, rtol=0)
    iterations, batch = len(trainer), settings["batch_size"]
    assert passes["trainer"] - passes["sampler"] == iterations * (batch - changes["sampler_check_rows"])


def test_the_other_engine_samples_from_the_same_policy(settings, scorers, run_into, read_metrics, tmp_path):
    """Attention that the engine swapped and left behind, or weights of before the last step, would show here."""
    changes = {"engine": "continuous_batching", "sample_batch_tokens": 1024, "num_iterations": 3, "save_every": 0}
    run_into(tmp_path / "out", {**settings, **changes}, scorers)
    rows = read_metrics(tmp_path / "out")
    assert all(row["sampler_mismatch"] < 1e-4 for row in rows) and rows[2]["kl_k3"] > 1e-6
    assert all(row["entropy"] == pytest.approx(math.log(400), rel=0.05) for row in rows)


def share_of_letters(text: str) -> float:
    return sum(map(str.isalpha, text)) / (1 + len(text))


def test_the_best_policy_is_kept_and_a_run_without_gain_stops(
    settings, scorers, run_into, read_metrics, tmp_path, monkeypatch
):
    """Held-out scores fall from the third judgement on: the policy of the second is what is left."""
    held_out = [Prompt((Message("user", "held out"),)).to_row()]
    write_rows(tmp_path / "held_out.jsonl", held_out)
    judgements = iter([0.0, 2.0, 1.0, 1.5])

    def score(conversations):
        if conversations[0][0].content == "held out":
            return torch.tensor([next(judgements)])
        return scorers.helpfulness(conversations)

    graded = []

    def grade(prompt, response):
        assert prompt == [{"role": "user", "content": "held out"}]
        graded.append(share_of_letters(response))
        return {"letters": graded[-1]}

    monkeypatch.setattr("rlhf.ppo.session.resolve", {"rules.judge": grade}.get)
    asked = {"held_out_prompts": str(tmp_path / "held_out.jsonl"), "evaluate_every": 1, "patience": 2}
    asked |= {"held_out_judge": "rules.judge"}
    changes = {**asked, "num_iterations": 9, "critic_warmup_iterations": 0, "save_every": 0}
    safe = Scorers(score, lambda conversations: torch.full((len(conversations),), 5.0))
    run = run_into(tmp_path / "stopped", {**settings, **changes}, safe)
    rows = read_metrics(tmp_path / "stopped")
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3], "the start is judged, too"
    assert [row["held_out_reward"] for row in rows] == [0.0, 2.0, 1.0, 1.5], "two without a gain end the run"
    assert [row["held_out_win_rate"] for row in rows] == [0.5, 1.0, 1.0, 1.0]
    assert [row["held_out_letters_grade"] for row in rows] == pytest.approx([100 * grade for grade in graded])
    assert run.metrics["best_iteration"] == 1 and run.metrics["iterations"] == 3
    plain = {**settings, **changes, "num_iterations": 1, "patience": 0}
    plain |= {"held_out_prompts": None, "held_out_judge": None}
    run_into(tmp_path / "one", plain, safe)
    best, expected = weights(tmp_path / "stopped"), weights(tmp_path / "one")
    assert all(torch.equal(best[name], expected[name]) for name in expected)
    assert not (tmp_path / "stopped" / "best").exists()


@pytest.mark.parametrize(("stop_on", "best"), [("reward", 1), ("win_rate", 2)])
def test_the_best_policy_is_the_one_of_the_named_measure(
    settings, scorers, run_into, read_metrics, tmp_path, stop_on, best
):
    """One answer far above the start's raises the mean; two a little above it win more often."""
    held_out = [Prompt((Message("user", f"held out {number}"),)).to_row() for number in range(3)]
    write_rows(tmp_path / "held_out.jsonl", held_out)
    judgements = iter([[0.0, 0.0, 0.0], [6.0, -1.0, -1.0], [1.0, 1.0, -1.0]])

    def score(conversations):
        is_held_out = conversations[0][0].content.startswith("held out")
        return torch.tensor(next(judgements)) if is_held_out else scorers.helpfulness(conversations)

    asked = {"held_out_prompts": str(tmp_path / "held_out.jsonl"), "evaluate_every": 1, "stop_on": stop_on}
    safe = Scorers(score, lambda conversations: torch.full((len(conversations),), 5.0))
    run = run_into(tmp_path / "out", {**settings, **asked, "num_iterations": 2, "save_every": 0}, safe)
    rows = read_metrics(tmp_path / "out")
    assert [row["held_out_reward"] for row in rows] == pytest.approx([0.0, 4 / 3, 1 / 3])
    assert [row["held_out_win_rate"] for row in rows] == pytest.approx([1 / 2, 1 / 3, 2 / 3])
    assert run.metrics["best_iteration"] == best and run.metrics["best_held_out"] == rows[best][f"held_out_{stop_on}"]


def test_two_processes_train_as_one(settings, read_metrics, tmp_path):
    import yaml

    (tmp_path / "ppo.yaml").write_text(yaml.safe_dump({**settings, "num_iterations": 3}))
    arguments = ["--config", str(tmp_path / "ppo.yaml"), "--output_dir"]
    main([*arguments, str(tmp_path / "one")])
    # Not `accelerate launch --cpu --num_processes 2`: without MPI it starts a single process and says nothing.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "rlhf.ppo"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launch, *arguments, str(tmp_path / "two")], env=environment, cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert len(one) == 3
    for row, other in zip(one, two, strict=True):
        assert other == {name: pytest.approx(value, rel=1e-4, abs=1e-5) for name, value in row.items()}
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=0)
