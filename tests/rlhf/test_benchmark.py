"""lm-eval on a checkpoint of ours: a local task gets the accuracy that log-probabilities give, names are checked."""

import json

import pytest
import torch
from typer.testing import CliRunner

from chat_model.loading import load_causal_lm
from recipes.cli import main

QUESTIONS = [  # text, two choices, which is right
    ("the fox is", " red", " an owl", 0),
    ("the owl lives in the", " bomb", " forest", 1),
    ("hello", " there", "?", 0),
    ("the fox", " is red. hello there", " is", 0),  # the likelier choice is the wrong one
    ("what color is", " the fox", " naïve", 1),
]
TASK = """
task: world_facts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: label
doc_to_choice: "{{{{[first, second]}}}}"
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""


@pytest.fixture
def task(tmp_path):
    """A folder with a task of five questions."""
    rows = [dict(zip(("question", "first", "second", "label"), each, strict=True)) for each in QUESTIONS]
    (tmp_path / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "facts.yaml").write_text(TASK.format(file=tmp_path / "facts.jsonl"))
    return tmp_path


def is_right(model, tokenizer, question, first, second, label) -> bool:
    """Whether the model gives the right choice the higher log-probability; token by token."""

    def log_prob(answer):
        start = len(tokenizer(question)["input_ids"])
        ids = tokenizer(question + answer, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            chosen = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])
        return chosen[start - 1 :].sum().item()

    return (log_prob(second) > log_prob(first)) == bool(label)


def run(checkpoint, task, output, *options):
    arguments = ["benchmark", str(checkpoint), "--include-path", str(task), "--output", str(output), *options]
    return CliRunner().invoke(main, arguments)


def test_accuracy_is_that_of_the_log_probabilities(tiny_checkpoint, tiny_tokenizer, task, tmp_path):
    output = tmp_path / "out"
    result = run(tiny_checkpoint, task, output, "--tasks", "world_facts", "--no-chat-template")
    assert result.exit_code == 0, result.output
    model = load_causal_lm(tiny_checkpoint)
    expected = sum(is_right(model, tiny_tokenizer, *question) for question in QUESTIONS) / len(QUESTIONS)
    assert 0 < expected < 1
    recorded = json.loads((output / "run.json").read_text())
    assert recorded["metrics"]["tasks"]["world_facts"]["acc"] == pytest.approx(expected)
    assert recorded["counts"]["questions"] == {"world_facts": 5}
    assert "world_facts" in result.output


def test_an_unknown_task_is_refused_with_a_suggestion(tiny_checkpoint, task, tmp_path):
    result = run(tiny_checkpoint, task, tmp_path / "out", "--tasks", "world_fact")
    assert result.exit_code == 2
    assert "did you mean 'world_facts'" in result.output
