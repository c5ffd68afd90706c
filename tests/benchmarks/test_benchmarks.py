"""The benchmarks run, measure both sides on the same work, and end with one line of JSON."""

import json
import sys

import pytest

from benchmarks import generation, sft
from benchmarks.comparison import compare_speeds, show
from benchmarks.workload import make_conversations


def test_the_last_line_is_the_json_of_the_comparison(capsys):
    show(compare_speeds("toy", {"rows_per_second": 30.0}, {"rows_per_second": 20.0}), "a title")
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last) == {"benchmark", "ratios", "ours", "peer", "machine"}
    assert (last["benchmark"], last["ratios"]) == ("toy", {"rows_per_second": 1.5})


def test_the_workload_is_the_same_for_the_same_seed():
    assert make_conversations(3) == make_conversations(3) != make_conversations(3, seed=1)


def test_generation_runs_from_its_command_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["generation", "--num-prompts", "3", "--max-new-tokens", "4"])
    generation.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["ours"]["tokens_per_second"] > 0 and last["peer"]["tokens_per_second"] > 0


@pytest.mark.slow
def test_sft_trains_both_sides_on_the_same_rows():
    comparison = sft.run(num_rows=4, repeats=1)
    assert set(comparison.ratios) == {"tokens_per_second_training", "tokens_per_second_file_to_checkpoint"}
    for side in (comparison.ours, comparison.peer):
        assert 0 < side["tokens_per_second_file_to_checkpoint"] < side["tokens_per_second_training"]
