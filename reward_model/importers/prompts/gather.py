"""The prompts stage: what people asked in imported data, each prompt once, tagged as safety prompt or not.

Preferences, rejection sampling, PPO and the evaluation sample answers to prompts (section 3.2). A prompt of a safety
comparison is a safety prompt, whatever other comparisons it stands in. Training and test prompts are told apart by the
opening message and the seed alone, as in reward modelling: with the same `test_share` and seed, no reward model trained
on an opening that the policy is tested on.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from chat_model.conversation import Prompt
from chat_model.errors import InputError
from chat_model.rows import read_conversations, read_preferences, write_rows
from chat_model.stage import StageRun
from reward_model.mixing import hold_out, opening


@dataclass
class PromptArguments:
    """Where prompts are taken from, and which are held out."""

    output_dir: str = field(
        metadata={"help": "Where train.jsonl and test.jsonl go, rows with `prompt` and `is_safety`."}
    )
    preferences: list[str] = field(default_factory=list, metadata={"help": "Files of preference pairs."})
    conversations: list[str] = field(
        default_factory=list, metadata={"help": "Files of conversations, whose first user message is a prompt."}
    )
    test_share: float = field(default=0.1, metadata={"help": "Share of the opening messages held out for the test."})
    num_test: int | None = field(
        default=None, metadata={"help": "Test prompts at the most, drawn from those held out. Default: all."}
    )
    seed: int = field(
        default=0, metadata={"help": "Seed of the split; the reward models' for the same split as theirs."}
    )

    def __post_init__(self) -> None:
        """Refuse nothing to read, and a share that leaves one side empty."""
        if not self.preferences and not self.conversations:
            raise InputError("preferences: found none, and no conversations; expected files to take prompts from")
        if not 0 < self.test_share < 1:
            raise InputError(f"test_share: found {self.test_share}; expected above 0 and below 1")


def gather_prompts(run: StageRun, arguments: PromptArguments) -> None:
    """Write `train.jsonl` and `test.jsonl` into `run.folder`; the counts go to `run`.

    Raises:
        InputError: a malformed file, or too few prompts for one of the sides.
    """
    if not run.is_main:
        return
    read: Counter[str] = Counter()
    is_safety = {**_of_conversations(arguments.conversations, read), **_of_preferences(arguments.preferences, read)}
    prompts = [Prompt(messages, tag) for messages, tag in is_safety.items()]
    train, held_out = hold_out(prompts, lambda prompt: opening(prompt.prompt), arguments.test_share, arguments.seed)
    num_test = min(arguments.num_test or len(held_out), len(held_out))
    test = random.Random(arguments.seed).sample(held_out, num_test)
    for side, some in (("train", train), ("test", test)):
        if not some:
            raise InputError(f"test_share: {arguments.test_share} of {len(prompts)} prompts leaves none for {side}")
        write_rows(run.folder / f"{side}.jsonl", (prompt.to_row() for prompt in some))
        run.count(**{side: len(some), f"{side}_safety": sum(prompt.is_safety for prompt in some)})
    run.count(rows_read=dict(read), repeated=read.total() - len(prompts), held_out_not_in_test=len(held_out) - num_test)


def _of_preferences(files: list[str], read: Counter[str]) -> dict[tuple, bool]:
    """Return the prompt of every pair, and whether any pair with it is of the domain safety."""
    tags: dict[tuple, bool] = {}
    for file in files:
        for pair in read_preferences(file):
            tags[pair.prompt] = tags.get(pair.prompt, False) or pair.domain == "safety"
            read[_label(file)] += 1
    return tags


def _of_conversations(files: list[str], read: Counter[str]) -> dict[tuple, bool]:
    """Return what every conversation begins with, up to the first user message."""
    tags: dict[tuple, bool] = {}
    for file in files:
        for conversation in read_conversations(file):
            length = next(index for index, message in enumerate(conversation.messages, 1) if message.role == "user")
            tags[conversation.messages[:length]] = False
            read[_label(file)] += 1
    return tags


def _label(file: str) -> str:
    """Return a file's name and its folder's, which is the dataset's where a recipe imported it."""
    return "/".join(Path(file).parts[-2:])
