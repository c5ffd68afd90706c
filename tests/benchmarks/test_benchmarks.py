"""The benchmarks run, measure both sides on the same work, and end with one line of JSON."""

import json
import sys

import pytest

from benchmarks import gatt, generation, reward_model, sft
from benchmarks.comparison import compare_speeds, show
from benchmarks.workload import make_conversations


def test_the_last_line_is_the_json_of_the_comparison(capsys):
    show(compare_speeds("toy", {"rows_per_second": 30.0}, {"rows_per_second": 20.0}), "a title")
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last) == {"benchmark", "ratios", "ours", "peer", "machine"}
    assert (last["benchmark"], last["ratios"]) == ("toy", {"rows_per_second": 1.5})


def test_of_a_cost_less_is_better(capsys):
    comparison = compare_speeds("toy", {"speed": 30.0, "memory": 2.0}, {"speed": 20.0, "memory": 3.0}, costs=["memory"])
    assert comparison.ratios == {"speed": 1.5, "memory": 1.5}
    show(comparison, "a title")
    assert "2.0" in capsys.readouterr().out


def test_the_workload_is_the_same_for_the_same_seed():
    assert make_conversations(3) == make_conversations(3) != make_conversations(3, seed=1)


def test_generation_runs_from_its_command_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["generation", "--num-prompts", "3", "--max-new-tokens", "4"])
    generation.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["ours"]["tokens_per_second"] > 0 and last["peer"]["tokens_per_second"] > 0


def test_gatt_holds_whole_dialogues_on_both_sides(monkeypatch):
    """Both sides answer every question of every dialogue; one that stopped early would look fast."""
    held = {}
    for side in ("_ours", "_peer"):
        hold = getattr(gatt, side)
        monkeypatch.setattr(
            gatt, side, lambda *given, side=side, hold=hold: held.setdefault(side, []).append(hold(*given))
        )
    comparison = gatt.run(num_dialogues=3, turns=2, max_new_tokens=3)
    assert [[len(replies) for replies in held[side][-1]] for side in ("_ours", "_peer")] == [[2, 2, 2]] * 2
    assert comparison.ratios["dialogues_per_second"] > 0


@pytest.mark.slow
def test_sft_trains_both_sides_on_the_same_rows():
    comparison = sft.run(num_rows=4, repeats=1)
    assert set(comparison.ratios) == {"tokens_per_second_training", "tokens_per_second_file_to_checkpoint"}
    for side in (comparison.ours, comparison.peer):
        assert 0 < side["tokens_per_second_file_to_checkpoint"] < side["tokens_per_second_training"]


@pytest.mark.slow
def test_reward_model_trains_both_sides_on_the_same_pairs(tmp_path):
    """One step from one start: the loss of both sides is that of the same pairs, so it is one number."""
    from benchmarks import reward_model_sides

    transcripts = [(f"\n\nHuman: {i} red fox?\n\nAssistant: ", f"yes {'red ' * i}", "no") for i in range(16)]
    rows = [{"chosen": prompt + chosen, "rejected": prompt + rejected} for prompt, chosen, rejected in transcripts]
    (tmp_path / "hh.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = "tiny:hidden_size=32,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2,num_key_value_heads=1"
    reward_model.prepare(tmp_path, 16, tmp_path / "hh.jsonl", small)
    losses = [reward_model_sides.main(side, tmp_path)["train_loss"] for side in ("ours", "trl", "trl_grouped")]
    assert losses[1:] == pytest.approx([losses[0]] * 2, abs=1e-5)


def test_scoring_measures_the_same_conversations_on_both_sides(tiny_reward_checkpoint):
    """The comparison itself asserts that the scores are equal; the workloads are of one size, and of K a prompt."""
    from benchmarks.reward_model_scoring import WORKLOADS, compare_scoring, make_workloads
    from chat_model.conversation import Message, PreferencePair
    from chat_model.loading import load_scalar_model, load_tokenizer

    def says(role, text):
        return (Message(role, text),)

    pairs = [
        PreferencePair(says("user", f"{i} red fox?"), says("assistant", f"yes {i}"), says("assistant", "no"))
        for i in range(64)
    ]
    workloads = make_workloads(pairs)
    assert tuple(workloads) == WORKLOADS and {len(conversations) for conversations in workloads.values()} == {128}
    prompts = [len({conversation[:-1] for conversation in conversations}) for conversations in workloads.values()]
    assert prompts == [64, 16, 4]
    model, tokenizer = load_scalar_model(tiny_reward_checkpoint), load_tokenizer(tiny_reward_checkpoint)
    measured = compare_scoring(model, tokenizer, pairs[:4])
    assert all(min(sides.values()) > 0 for sides in measured.values())
