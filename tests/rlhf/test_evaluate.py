"""Win rates with intervals, and the stage that compares checkpoints."""

import json
import random

import pytest

from chat_model.conversation import Message, Prompt
from chat_model.errors import InputError
from chat_model.intervals import bootstrap_interval
from chat_model.rows import read_rows, write_rows
from rlhf.evaluate.__main__ import main
from rlhf.evaluate.contests import contests
from rlhf.evaluate.divergence import log_ratios
from rlhf.evaluate.win_rate import win_rate


def test_win_rate_by_hand():
    result = win_rate([1.0, 0.5, 0.2, 0.9], [0.0, 0.5, 0.9, 0.1])
    assert result["win_rate"] == (1 + 0.5 + 0 + 1) / 4
    assert result["low"] <= result["win_rate"] <= result["high"]


def test_interval_covers_the_truth_about_19_times_in_20():
    rng = random.Random(1)
    covered = 0
    for seed in range(200):
        draws = [float(rng.random() < 0.7) for _ in range(80)]
        low, high = bootstrap_interval(draws, resamples=200, seed=seed)
        covered += low <= 0.7 <= high
    assert 176 <= covered <= 199


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 scores against 1"):
        win_rate([1.0, 2.0], [1.0])


def grade(prompt, response):
    """The judge of these tests: safety prompts by being empty, others by length."""
    if "danger" in prompt[-1]["content"]:
        return {"safety": 1.0, "unsafe": 0.0}
    return {"helpfulness": min(len(response), 50) / 50}


@pytest.fixture
def options(tiny_checkpoint, tiny_reward_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.quickstart.rules.judge", grade)
    prompts = [Prompt((Message("user", f"question {number}"),)) for number in range(5)]
    prompts.append(Prompt((Message("user", "danger"),), is_safety=True))
    write_rows(tmp_path / "prompts.jsonl", (prompt.to_row() for prompt in prompts))
    return [
        f"--prompts={tmp_path / 'prompts.jsonl'}",
        "--judge=recipes.quickstart.rules.judge",
        f"--output_dir={tmp_path / 'out'}",
        f"--helpfulness_reward_model={tiny_reward_checkpoint}",
        "--max_new_tokens=6",
        "--checkpoints",
        str(tiny_checkpoint),
        str(tiny_checkpoint),
    ]


def test_the_same_checkpoint_twice_ties_everywhere(options, tmp_path):
    main([*options, "--names", "sft", "again"])
    metrics = json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]
    assert metrics["checkpoints"]["sft"] == metrics["checkpoints"]["again"]
    rate = metrics["win_rates"]["again"]
    assert (rate["against"], rate["win_rate"], rate["low"], rate["high"]) == ("sft", 0.5, 0.5, 0.5)
    rows = [row for _, row in read_rows(tmp_path / "out" / "responses.jsonl")]
    graded = [row["scores"]["sft"]["helpfulness"] for row in rows if not row["is_safety"]]
    assert metrics["checkpoints"]["sft"]["helpfulness"] == pytest.approx(100 * sum(graded) / 5)
    assert metrics["checkpoints"]["sft"]["safety"] == 100 and "reward_helpfulness" in rows[0]["scores"]["again"]


def test_names_must_match_the_checkpoints(options):
    with pytest.raises(InputError, match="names: found .*; expected a different name for each"):
        main([*options, "--names", "sft", "sft"])


def test_contests_hold_every_checkpoint_against_the_first_and_the_one_before_by_kind_of_prompt():
    """By hand: two ordinary prompts and a safety one; the second checkpoint is the first one's equal on safety."""
    scores = {"judge": {"sft": [0.0, 0.5, 1.0], "V1": [1.0, 0.5, 1.0], "V2": [0.5, 1.0, 0.0]}}
    rows = contests(scores, [False, False, True])
    rates = {(row["name"], row["against"], row["prompts"]): row["win_rate"] for row in rows}
    assert rates == {
        ("V1", "sft", "all"): 2 / 3,
        ("V1", "sft", "helpfulness"): 0.75,
        ("V1", "sft", "safety"): 0.5,
        ("V2", "sft", "all"): 2 / 3,
        ("V2", "sft", "helpfulness"): 1.0,
        ("V2", "sft", "safety"): 0.0,
        ("V2", "V1", "all"): 1 / 3,
        ("V2", "V1", "helpfulness"): 0.5,
        ("V2", "V1", "safety"): 0.0,
    }
    assert len(rows) == len(rates) and {row["by"] for row in rows} == {"judge"}
    assert [row["count"] for row in rows[:3]] == [3, 2, 1]


def test_a_kind_without_prompts_has_no_contest():
    rows = contests({"judge": {"sft": [0.0], "V1": [1.0]}}, [False])
    assert [row["prompts"] for row in rows] == ["all", "helpfulness"]


def moved(model):
    """A copy of `model` that prefers other tokens."""
    import copy

    import torch

    other = copy.deepcopy(model)
    torch.manual_seed(5)
    with torch.no_grad():
        other.lm_head.weight += 0.3 * torch.randn_like(other.lm_head.weight)
    return other


def test_log_ratios_are_those_of_whole_responses_token_by_token(tiny_model, tiny_tokenizer):
    """Against a naive loop without padding or batches, at the sampling temperature; the prompt must not count."""
    import torch

    from chat_model.generation import sample

    other = moved(tiny_model)
    prompts = [(Message("user", text),) for text in ("what color is the fox?", "hello there!", "x")]
    samples = sample(tiny_model, tiny_tokenizer, prompts, num_samples=2, temperature=0.7, max_new_tokens=5)

    def log_prob(model, prompt, response):
        logits = model(torch.tensor([prompt + response])).logits[0].detach() / 0.7
        at = range(len(prompt) - 1, len(prompt) + len(response) - 1)
        return sum(float(logits[place].log_softmax(-1)[token]) for place, token in zip(at, response, strict=True))

    pairs = zip(samples.prompt_ids, samples.response_ids, strict=True)
    expected = [log_prob(tiny_model, *pair) - log_prob(other, *pair) for pair in pairs]
    for batch_tokens in (1, 32768):
        assert log_ratios(tiny_model, other, samples, 0.7, batch_tokens) == pytest.approx(expected, abs=1e-4)


def test_the_kl_of_a_checkpoint_that_moved_is_positive(options, tiny_model, tiny_tokenizer, tmp_path):
    """Negative KL is what samples of another distribution than the scored one give (traps: PPO)."""
    moved(tiny_model).save_pretrained(tmp_path / "moved")
    tiny_tokenizer.save_pretrained(tmp_path / "moved")
    prompts = [Prompt((Message("user", f"question {number}"),)) for number in range(60)]
    write_rows(tmp_path / "prompts.jsonl", (prompt.to_row() for prompt in prompts))
    main([*options[:-1], str(tmp_path / "moved"), "--names", "sft", "moved"])
    metrics = json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]
    assert metrics["checkpoints"]["sft"]["kl"] == 0.0
    low, high = metrics["intervals"]["moved"]["kl"]
    assert 0 < low <= metrics["checkpoints"]["moved"]["kl"] <= high


def test_reward_models_decide_contests_of_their_own_kind_of_prompt(options, tiny_reward_checkpoint, tmp_path):
    main([*options, "--names", "sft", "again", f"--safety_reward_model={tiny_reward_checkpoint}", "--temperature=0.5"])
    metrics = json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]
    cases = {(row["by"], row["prompts"]): (row["win_rate"], row["count"]) for row in metrics["contests"]}
    kinds = {"all": (0.5, 6), "helpfulness": (0.5, 5), "safety": (0.5, 1)}
    assert cases == {(by, kind): kinds[kind] for by in ("judge", "reward models") for kind in kinds}
    low, high = metrics["intervals"]["sft"]["helpfulness"]
    assert low <= metrics["checkpoints"]["sft"]["helpfulness"] <= high
