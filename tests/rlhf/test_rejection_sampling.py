"""Best of K: the exact best-of-N curve, the pool across rounds, and the stage."""

import itertools
import json

import pytest
import torch

from chat_model.conversation import Conversation, Message, Prompt
from chat_model.errors import InputError
from chat_model.rows import read_rows, write_rows
from chat_model.template import render
from rlhf.rejection_sampling.__main__ import main
from rlhf.rejection_sampling.best_of_n import expected_order_statistic, reward_by_n
from rlhf.rejection_sampling.pool import Candidate, best_per_prompt

PROMPTS = [Prompt((Message("user", f"question {number}"),), is_safety=number == 0) for number in range(6)]


def candidate(prompt, response, reward, round_name="V1"):
    return Candidate(prompt, response, {"helpfulness": reward}, reward, {"round": round_name})


def test_order_statistics_equal_enumeration_of_all_subsets():
    rewards = torch.tensor([[3.0, -1.0, 2.0, 7.0, 0.5], [1.0, 1.0, 4.0, 0.0, -2.0]]).double()
    ordered = rewards.sort(dim=1).values
    for size in range(1, 6):
        for rank in range(1, size + 1):
            expected = [
                sum(sorted(subset)[rank - 1] for subset in itertools.combinations(row, size))
                / len(list(itertools.combinations(row, size)))
                for row in rewards.tolist()
            ]
            ours = expected_order_statistic(ordered, size, rank)
            torch.testing.assert_close(ours, torch.tensor(expected).double())


def test_curve_by_hand():
    curve = reward_by_n(torch.tensor([[0.0, 3.0, 6.0]]))
    assert curve["n"] == [1, 2, 3]
    assert curve["max"] == pytest.approx([3, 5, 6])  # of {0,3}, {0,6}, {3,6} the maxima are 3, 6, 6
    assert curve["median"] == pytest.approx([3, 3, 3]) and curve["mean"] == pytest.approx([3, 3, 3])


def test_pool_keeps_the_best_of_all_rounds_and_counts_a_text_once():
    first, second = PROMPTS[:2]
    new = [candidate(first, "new", 0.1, "V2"), candidate(second, "same", 2.0, "V2")]
    old = [candidate(first, "old", 0.9), candidate(second, "same", 2.0), candidate(PROMPTS[2], "only then", -5.0)]
    best = best_per_prompt([*new, *old])
    assert [(each.response, each.provenance["round"]) for each in best] == [
        ("old", "V1"),
        ("same", "V2"),
        ("only then", "V1"),
    ]
    assert [each.response for each in best_per_prompt([*new, *old], keep=2)] == ["old", "new", "same", "only then"]


def test_only_the_sampled_answer_trains(tiny_tokenizer):
    prompt = Prompt((Message("user", "hi"), Message("assistant", "by another"), Message("user", "and?")))
    row = candidate(prompt, "mine", 0.0).to_conversation_row()
    rendered = render(tiny_tokenizer, Conversation.from_row(row).messages)
    trained = [token for token, counts in zip(rendered.token_ids, rendered.loss_mask, strict=True) if counts]
    assert tiny_tokenizer.decode(trained, skip_special_tokens=True).strip() == "mine"


@pytest.fixture
def options(tiny_checkpoint, tiny_reward_checkpoint, tmp_path):
    write_rows(tmp_path / "prompts.jsonl", (prompt.to_row() for prompt in PROMPTS))
    return [
        f"--model_name_or_path={tiny_checkpoint}",
        f"--helpfulness_reward_model={tiny_reward_checkpoint}",
        f"--safety_reward_model={tiny_reward_checkpoint}",
        f"--prompts={tmp_path / 'prompts.jsonl'}",
        "--num_samples=4",
        "--max_new_tokens=6",
    ]


def rows_of(folder, name):
    return [row for _, row in read_rows(folder / name)]


def test_the_stage_keeps_the_highest_reward(options, tmp_path):
    main([*options, f"--output_dir={tmp_path / 'v1'}", "--round=V1"])
    samples, pool = rows_of(tmp_path / "v1", "samples.jsonl"), rows_of(tmp_path / "v1", "pool.jsonl")
    run = json.loads((tmp_path / "v1" / "run.json").read_text())
    assert run["counts"]["samples"] + run["counts"]["dropped_empty"] == 24 and len(pool) == 6
    for kept in pool:
        rivals = [row["reward"] for row in samples if row["prompt"] == kept["prompt"]]
        assert kept["reward"] == max(rivals)
        assert kept["round"] == "V1" and kept["reward"] == kept["scores"]["safety"]  # one model in both roles
    assert len(rows_of(tmp_path / "v1", "conversations.jsonl")) == 6


def test_earlier_winners_are_scored_anew_and_compete(options, tmp_path, tiny_reward_checkpoint):
    """A remembered response comes with an absurd reward; what counts is today's reward model."""
    remembered = {**PROMPTS[0].to_row(), "response": "the fox is red.", "reward": 1e9, "round": "V0"}
    elsewhere = Prompt((Message("user", "asked only before"),)).to_row()
    write_rows(tmp_path / "old.jsonl", [remembered, {**elsewhere, "response": "yes.", "round": "V0"}])
    main([*options, f"--output_dir={tmp_path / 'v1'}", f"--pool={tmp_path / 'old.jsonl'}", "--round=V1"])
    pool = rows_of(tmp_path / "v1", "pool.jsonl")
    assert len(pool) == 7 and all(row["reward"] < 1e6 for row in pool)
    assert [row["round"] for row in pool].count("V0") >= 1 and pool[-1]["response"] == "yes."


def test_bad_pool_names_the_row(options, tmp_path):
    write_rows(tmp_path / "old.jsonl", [PROMPTS[0].to_row()])
    with pytest.raises(InputError, match=r"old.jsonl:1: field 'response': found None; expected text"):
        main([*options, f"--output_dir={tmp_path / 'v1'}", f"--pool={tmp_path / 'old.jsonl'}"])
