"""What is asked in the dialogues: the user turns of a dataset, or the model's own where there is none."""

import random
from typing import Any

from chat_model.conversation import Message, to_dicts
from chat_model.errors import InputError
from chat_model.rows import write_rows
from chat_model.shards import Shards
from chat_model.stage import StageRun
from gatt.plans import Questions, read_questions, user_turns
from gatt.sampler import ModelSampler
from gatt.synthesize.config import SynthesisConfig
from gatt.synthesize.self_chat import chat_with_itself
from gatt.synthesize.shards import FOLDER
from gatt.synthesize.user_role import draw_roles


def read_dataset(run: StageRun, config: SynthesisConfig) -> list[Questions]:
    """Return the user turns of every conversation of `dialogues` without a system message; the others are counted."""
    assert config.dialogues is not None
    questions, left_out = read_questions(config.dialogues)
    run.count(dialogues_read=len(questions) + left_out, dialogues_with_system_message=left_out)
    return questions


def ask_the_model(run: StageRun, config: SynthesisConfig, sampler: ModelSampler) -> list[Questions]:
    """Return the user turns of dialogues that the model held with itself; `dialogues.jsonl` keeps them whole.

    All processes hold them together. A killed run takes them up again.

    Raises:
        InputError: the model has not asked a single question.
    """

    def make() -> list[dict[str, Any]]:
        roles = draw_roles(config.user_role, config.topics, config.num_dialogues, random.Random(f"{config.seed} roles"))
        dialogues = chat_with_itself(_for_self_chats(config, sampler), roles, config.max_turns)
        return [{"messages": to_dicts(messages)} for messages in dialogues]

    rows = Shards(run.folder / FOLDER).rows("self_chats", make)
    dialogues = [[Message(each["role"], each["content"]) for each in row["messages"]] for row in rows]
    held = [messages for messages in dialogues if messages]
    ended_early = sum(len(messages) < 2 * config.max_turns for messages in held)
    run.count(
        self_chats=len(dialogues), self_chats_empty=len(dialogues) - len(held), self_chats_ended_early=ended_early
    )
    if not held:
        raise InputError(
            f"{config.model_name_or_path}: asked nothing as the user; word user_role anew or give it dialogues"
        )
    if run.is_main:
        write_rows(run.folder / "dialogues.jsonl", ({"messages": to_dicts(messages)} for messages in held))
    return [user_turns(messages) for messages in held]


def _for_self_chats(config: SynthesisConfig, sampler: ModelSampler) -> ModelSampler:
    """Return a sampler of one reply a context, whose work is shared among the processes, with seeds of its own."""
    settings = {name: getattr(config, name) for name in ("temperature", "max_new_tokens", "batch_tokens", "engine")}
    seed = random.Random(f"{config.seed} self chats").getrandbits(48)
    return ModelSampler(sampler.model, sampler.tokenizer, seed=seed, keep_cut_off=False, **settings)
