"""The same small model and conversations for every benchmark: seeded, made on the spot, nothing downloaded."""

import random
from pathlib import Path

import torch

from chat_model.conversation import Conversation, Message
from chat_model.loading import load_causal_lm
from chat_model.tokenizer import train_tokenizer

MODEL = "tiny:hidden_size=128,intermediate_size=384,num_hidden_layers=4"
_WORDS = (
    "red",
    "blue",
    "fox",
    "owl",
    "river",
    "forest",
    "bread",
    "honey",
    "lives",
    "eats",
    "near",
    "under",
    "the",
    "and",
)


def make_conversations(count: int, seed: int = 0) -> list[Conversation]:
    """Return conversations of one to three exchanges with 3 to 40 words a message."""
    rng = random.Random(seed)
    return [Conversation(_messages(rng)) for _ in range(count)]


def make_model(conversations: list[Conversation]):
    """Return a random model of about 1M parameters with a tokenizer trained on the conversations' text."""
    tokenizer = train_tokenizer((message.content for row in conversations for message in row.messages), vocab_size=512)
    torch.manual_seed(0)
    return load_causal_lm(MODEL, tokenizer), tokenizer


def save_checkpoint(folder: Path, conversations: list[Conversation]) -> None:
    """Write the model of `make_model` and its tokenizer to `folder`."""
    model, tokenizer = make_model(conversations)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _messages(rng: random.Random) -> tuple[Message, ...]:
    def text() -> str:
        return " ".join(rng.choices(_WORDS, k=rng.randint(3, 40)))

    exchanges = [(Message("user", text()), Message("assistant", text())) for _ in range(rng.randint(1, 3))]
    return tuple(message for exchange in exchanges for message in exchange)
