"""Section 3.2.3 in a world of its own: what the pool remembers, and a small model taught by a large one's samples.

Two skills, the colours and the homes of animals. Every claim is checked by rule, and the rule stands in for both reward
models, so that only the pool, or only the teacher, can make the difference.
"""

import random

import pytest
import torch

from chat_model.conversation import Message, Prompt
from chat_model.generation import sample
from chat_model.loading import load_causal_lm, load_tokenizer
from chat_model.rows import write_rows
from chat_model.tokenizer import train_tokenizer
from rlhf.rejection_sampling.__main__ import main as rejection_sampling
from sft.__main__ import main as sft

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ANIMALS = ("fox", "owl", "frog", "swan", "crow", "bear", "mole", "newt")
COLOURS = ("red", "brown", "green", "white", "black", "grey", "blue", "pink")
HOMES = ("forest", "barn", "pond", "lake", "tower", "cave", "garden", "river")
LARGE = "tiny:hidden_size=64,intermediate_size=128,num_hidden_layers=2,num_attention_heads=4,num_key_value_heads=2"
SMALL = "tiny:hidden_size=32,intermediate_size=64,num_hidden_layers=2,num_attention_heads=2,num_key_value_heads=2"

COLOUR_ANSWERS = {
    f"what color is the {name}?": f"the {name} is {colour}." for name, colour in zip(ANIMALS, COLOURS, strict=True)
}
HOME_ANSWERS = {
    f"where does the {name} live?": f"it lives in the {home}." for name, home in zip(ANIMALS, HOMES, strict=True)
}
ANSWERS = {**COLOUR_ANSWERS, **HOME_ANSWERS}


class Rule:
    """In the place of `RewardScorer`: 2 for the right answer, -2 for any other."""

    @classmethod
    def from_checkpoint(cls, *_, **__):
        return cls()

    def score(self, conversations, across_processes=False, description=None):
        right = [ANSWERS[question.content] == answer.content for *_, question, answer in conversations]
        return torch.tensor([2.0 if each else -2.0 for each in right])


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with the prompts of either skill, demonstrations half of which are wrong, and a tokenizer."""
    monkeypatch.setattr("rlhf.rejection_sampling.scores.RewardScorer", Rule)
    rng, demonstrations = random.Random(0), []
    for skill in (COLOUR_ANSWERS, HOME_ANSWERS):
        for question, right in skill.items():
            answers = [right if rng.random() < 0.5 else rng.choice(list(skill.values())) for _ in range(12)]
            demonstrations += [{"messages": exchange(question, answer)} for answer in answers]
    write_rows(tmp_path / "demonstrations.jsonl", demonstrations)
    for name, skill in (("colours", COLOUR_ANSWERS), ("homes", HOME_ANSWERS), ("both", ANSWERS)):
        write_rows(tmp_path / f"{name}.jsonl", (Prompt((Message("user", text),)).to_row() for text in skill))
    train_tokenizer([*ANSWERS, *ANSWERS.values()] * 4, vocab_size=400).save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def exchange(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def fine_tune(world, output, model, rows, epochs, learning_rate):
    """Train `model` with the `sft` stage; return the folder of the checkpoint."""
    fields = {
        "dataset_name": rows,
        "model_name_or_path": model,
        "tokenizer_name_or_path": world / "tokenizer",
        "output_dir": world / output,
        "num_train_epochs": epochs,
        "learning_rate": learning_rate,
        "per_device_train_batch_size": 16,
        "max_length": 64,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    sft([f"--{name}={value}" for name, value in fields.items()])
    return world / output


def select(world, output, model, prompts, pool=()):
    """Draw 16 a prompt with the rejection sampling stage; return its folder."""
    fields = {
        "model_name_or_path": model,
        "helpfulness_reward_model": model,
        "safety_reward_model": model,
        "prompts": world / f"{prompts}.jsonl",
        "output_dir": world / output,
        "round": output,
        "num_samples": 16,
        "temperature": 1.0,
        "max_new_tokens": 12,
        "min_reward": 0,
    }
    options = [f"--{name}={value}" for name, value in fields.items()]
    rejection_sampling([*options, *(["--pool", *map(str, pool)] if pool else [])])
    return world / output


def share_right(checkpoint, answers):
    """How often the checkpoint answers right, over eight samples a question."""
    prompts = [[Message("user", question)] for question in answers]
    samples = sample(
        load_causal_lm(checkpoint), load_tokenizer(checkpoint), prompts, num_samples=8, max_new_tokens=12, seed=1
    )
    expected = [answer for answer in answers.values() for _ in range(8)]
    return sum(text == right for text, right in zip(samples.texts, expected, strict=True)) / len(expected)


def later_rounds(world, label, policy, first_round, remember):
    """Two more rounds on homes alone, each on the policy of the one before; return the last policy."""
    pool = [first_round / "pool.jsonl"] if remember else []
    for number in (2, 3):
        name = f"{label}_v{number}"
        selected = select(world, f"{name}_samples", policy, "homes", pool)
        policy = fine_tune(world, f"{name}_policy", policy, selected / "conversations.jsonl", 30, 2e-3)
        pool = [selected / "pool.jsonl"] if remember else []
    return policy


def test_without_the_pool_a_skill_of_round_1_regresses_and_with_it_does_not(world):
    base = fine_tune(world, "base", LARGE, world / "demonstrations.jsonl", 12, 4e-3)
    first_round = select(world, "v1_samples", base, "colours")
    policy = fine_tune(world, "v1_policy", base, first_round / "conversations.jsonl", 30, 2e-3)
    colours = {"base": share_right(base, COLOUR_ANSWERS), "V1": share_right(policy, COLOUR_ANSWERS)}
    homes, homes_before = {}, share_right(policy, HOME_ANSWERS)
    for label, remember in (("forgetful", False), ("remembering", True)):
        last = later_rounds(world, label, policy, first_round, remember)
        colours[label], homes[label] = share_right(last, COLOUR_ANSWERS), share_right(last, HOME_ANSWERS)
    print(f"colours {colours}, homes {homes_before} before, then {homes}")
    assert colours["V1"] > colours["base"] + 0.2, "round 1 taught the skill"
    assert colours["forgetful"] < colours["V1"] - 0.2
    assert colours["remembering"] > colours["V1"] - 0.05
    assert min(homes.values()) > homes_before + 0.3, "both learnt what the later rounds asked for"


def test_a_small_model_learns_from_the_samples_of_a_large_one(world):
    teacher = fine_tune(world, "teacher", LARGE, world / "demonstrations.jsonl", 12, 4e-3)
    student = fine_tune(world, "student", SMALL, world / "demonstrations.jsonl", 12, 8e-3)
    samples = select(world, "samples", teacher, "both")
    taught = fine_tune(world, "taught", student, samples / "conversations.jsonl", 120, 8e-3)
    shares = {name: share_right(model, ANSWERS) for name, model in (("before", student), ("after", taught))}
    print(f"right answers of the student {shares}, of the teacher {share_right(teacher, ANSWERS)}")
    assert shares["after"] > shares["before"] + 0.3
    assert shares["after"] > share_right(teacher, ANSWERS), "the best of 16 is better than the teacher's average"
    assert load_causal_lm(taught).num_parameters() < load_causal_lm(teacher).num_parameters() / 2
