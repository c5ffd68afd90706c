"""Every stage of GAtt that samples asks the engine that its YAML file names."""

import pytest
import yaml

from chat_model import generation
from chat_model.rows import write_rows
from gatt.context_distillation.__main__ import main as distil
from gatt.evaluate.__main__ import main as evaluate
from gatt.propose.__main__ import main as propose
from gatt.synthesize.__main__ import main as synthesize
from tests.gatt.conftest import CHECKER

ENGINE = "continuous_batching"


@pytest.fixture
def requests(monkeypatch, tiny_tokenizer):
    """What the engine was asked for; it says "napoleon" each time, and never the same."""
    asked = []

    def answer(model, request):
        asked.append(request)
        text = f"{len(asked)}. napoleon"
        words = [*tiny_tokenizer.encode(text, add_special_tokens=False), tiny_tokenizer.eos_token_id]
        return [(place, words, None) for place in range(len(request.prompt_ids))]

    monkeypatch.setitem(generation._ENGINES, ENGINE, answer)
    return asked


@pytest.fixture
def files(tmp_path):
    """What the stages read: a constraint, a combination, dialogues, prompts, preprompts and questions for values."""
    figure = {"kind": "figure", "value": "napoleon", "verbose": ["act as napoleon."], "terse": "figure: napoleon."}
    asked = {"ask": ["who are you?"], "checker": CHECKER}
    proposal = {**figure, "value": "{value}", "verbose": ["act as {value}."], "terse": "figure: {value}.", **asked}
    for name, content in (
        ("constraints", [{**figure, **asked}]),
        ("proposals", [{"question": "name figures.", **proposal}]),
        ("preprompts", {"adjectives": ["safe"], "preprompts": ["be {adjectives}."]}),
    ):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    messages = [{"role": "user", "content": "who are you?"}, {"role": "assistant", "content": "a helper."}]
    write_rows(tmp_path / "dialogues.jsonl", [{"messages": messages}] * 2)
    write_rows(tmp_path / "combinations.jsonl", [{"constraints": [{"kind": "figure", "value": "napoleon"}]}])
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": messages[:1], "is_safety": True}] * 2)
    return tmp_path


HELD = {"dialogues": "dialogues.jsonl", "constraints": "constraints.yaml", "combinations": "combinations.jsonl"}


@pytest.mark.parametrize(
    ("stage", "inputs", "settings"),
    [
        (synthesize, HELD, {"num_dialogues": 2}),
        (synthesize, {"constraints": "constraints.yaml"}, {"num_dialogues": 2, "max_turns": 1, "user_turns": "model"}),
        (evaluate, HELD, {"num_dialogues": 2, "turns": [1]}),
        (propose, {"proposals": "proposals.yaml"}, {}),
        (distil, {"prompts": "prompts.jsonl", "preprompts": "preprompts.yaml"}, {"targeted": False}),
    ],
    ids=["synthesize", "synthesize_self_chats", "evaluate", "propose", "context_distillation"],
)
def test_the_engine_of_the_yaml_file_samples(
    stage, inputs, settings, files, requests, tiny_checkpoint, tiny_reward_checkpoint
):
    if stage is distil:
        settings = {**settings, "safety_reward_model": str(tiny_reward_checkpoint)}
    named = {name: str(files / file) for name, file in inputs.items()}
    fields = {"model_name_or_path": str(tiny_checkpoint), "output_dir": str(files / "out"), "max_new_tokens": 12}
    (files / "stage.yaml").write_text(yaml.safe_dump({**named, **settings, **fields, "engine": ENGINE}))
    stage(["--config", str(files / "stage.yaml")])
    assert requests and all(request.prefixes is None for request in requests)
