"""A toy set of constraints with a checker, and the module under which YAML files name that checker."""

import random
import sys
import types
from pathlib import Path

import pytest
import torch

from chat_model.loading import load_causal_lm
from chat_model.tokenizer import train_tokenizer
from gatt.constraints import Combination, Constraint

CHECKER = "toy_checkers.follows"
TINY = "tiny:hidden_size=32,intermediate_size=64,num_hidden_layers=1,num_attention_heads=2,max_position_embeddings=700"


def toy_follows(kind: str, value: str, question: str, response: str) -> bool | None:
    """A hobby is put to the test by a question that says "hobby"; anything else by every question."""
    if kind == "hobby" and "hobby" not in question:
        return None
    return value in response


def _raises(kind, value, question, response):
    raise KeyError(value)


@pytest.fixture(autouse=True)
def toy_checkers(monkeypatch):
    module = types.ModuleType("toy_checkers")
    module.follows, module.raises, module.says_yes = toy_follows, _raises, lambda *given: "yes"
    monkeypatch.setitem(sys.modules, "toy_checkers", module)


@pytest.fixture
def figure() -> Constraint:
    verbose = ("act as napoleon.", "you are napoleon.")
    return Constraint("figure", "napoleon", verbose, "figure: napoleon.", ("who are you?",), CHECKER)


@pytest.fixture
def hobby() -> Constraint:
    return Constraint("hobby", "tennis", ("you enjoy tennis.",), "hobby: tennis.", ("what is your hobby?",), CHECKER)


@pytest.fixture
def both(figure, hobby) -> Combination:
    return Combination((figure, hobby))


@pytest.fixture
def rng() -> random.Random:
    return random.Random(0)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A random model whose answers are gibberish that ends after about 20 tokens."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["who are you?"], vocab_size=280)
    torch.manual_seed(0)
    model = load_causal_lm(TINY, tokenizer)
    head = model.lm_head.weight.data
    head.zero_()
    head[tokenizer.eos_token_id] = 0.1  # every token is as likely as any other, the end a little likelier or less
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
