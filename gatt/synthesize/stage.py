"""The stage: plan dialogues, hold them under the instruction, keep what follows it, write training conversations."""

import functools
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from gatt.checks import require_checkers
from gatt.constraints import (
    Combination,
    Constraint,
    draw_combination,
    read_combinations,
    read_constraints,
    require_kinds,
)
from gatt.dialogue import Dialogue, InstructionAs, Plan, context, hold, last_turns, transcript
from gatt.groups import Held, hold_in_groups
from gatt.plans import pair
from gatt.reward import load_score
from gatt.sampler import ModelSampler
from gatt.synthesize.config import SynthesisConfig
from gatt.synthesize.questions import ask_the_model, read_dataset
from gatt.synthesize.selection import choose_best
from gatt.synthesize.shards import HeldShards, forget_shards, hold_in_shards
from gatt.synthesize.training_rows import draw_turns, training_row, usable_turns
from gatt.system_role import place_instruction


def synthesize(run: StageRun, config: SynthesisConfig) -> None:
    """Write `conversations.jsonl` (what `sft` trains on) and `transcripts.jsonl` (the dialogues as sampled)."""
    constraints = read_constraints(config.constraints)
    require_checkers(constraints, required=False)
    combinations = _combine(run, config, constraints)
    questions = read_dataset(run, config) if config.dialogues else []
    sampler = _load_sampler(config)
    instruction_as = place_instruction(sampler.tokenizer, config.instruction_as)
    questions = questions or ask_the_model(run, config, sampler)
    plans = pair(questions, combinations, config.num_dialogues, config.max_turns, config.seed)
    sampler.require_room([context(plan, [], "every_turn") for plan in plans])
    held = _hold(run, config, plans, sampler)
    left_out = [each for each in constraints if each.kind in config.leave_out]
    rows = make_training_rows(held.dialogues, config, instruction_as, left_out)
    _report(run, held, rows)
    run.record(instruction_as=instruction_as)
    if run.is_main and rows:
        write_rows(run.folder / "conversations.jsonl", rows)
        source = {"temperature": config.temperature, "model": config.model_name_or_path}
        told = ({**transcript(each, "every_turn"), **source} for each in held.dialogues)
        write_rows(run.folder / "transcripts.jsonl", told)
    forget_shards(run)
    if not rows:
        raise InputError(f"{config.model_name_or_path}: none of {len(plans)} dialogues held its instruction for a turn")


def _load_sampler(config: SynthesisConfig) -> ModelSampler:
    names = ("num_samples", "temperature", "max_new_tokens", "batch_tokens", "seed", "engine")
    settings = {name: getattr(config, name) for name in names}
    return ModelSampler.from_checkpoint(
        config.model_name_or_path, config.dtype, keep_cut_off=False, across_processes=False, **settings
    )


def _hold(run: StageRun, config: SynthesisConfig, plans: Sequence[Plan], sampler: ModelSampler) -> HeldShards:
    score = None
    if config.reward_model:
        limits = {"batch_tokens": config.batch_tokens, "dtype": config.dtype}
        score = load_score(config.reward_model, across_processes=False, **limits)
    choose = functools.partial(choose_best, score=score)
    groups_a_shard = math.ceil(config.dialogues_per_shard / config.dialogues_per_batch)

    def sample_replies(contexts: Sequence[Sequence[Message]]) -> list[str]:
        return sampler([last_turns(messages, config.context_turns) for messages in contexts])

    def hold_shard(number: int, shard: Sequence[Plan]) -> Held:
        return hold_in_groups(
            shard,
            sampler,
            lambda group: hold(group, "every_turn", sample_replies, choose, sampler.fits, config.max_attempts),
            size=config.dialogues_per_batch,
            calls_a_group=config.max_turns * config.max_attempts,
            first_group=number * groups_a_shard,
        )

    return hold_in_shards(run, plans, hold_shard, config.dialogues_per_shard)


def make_training_rows(
    dialogues: Sequence[Dialogue],
    config: SynthesisConfig,
    instruction_as: InstructionAs,
    left_out: Sequence[Constraint] = (),
) -> list[dict[str, Any]]:
    """Return the training conversations of `dialogues`, in order, with the columns that say where they come from.

    None of them ends with an answer to a question that asks for one of `left_out`.
    """
    rng = random.Random(f"{config.seed} turns")
    usable = [usable_turns(each, left_out) for each in dialogues]
    drawn = draw_turns(usable, config.prefixes_per_dialogue, rng, config.late_turn_weight)
    source = {"temperature": config.temperature, "model": config.model_name_or_path}
    return [
        {**training_row(dialogue, turn, instruction_as, config.train_on), "dialogue": index, **source}
        for index, (dialogue, turns) in enumerate(zip(dialogues, drawn, strict=True))
        for turn in turns
    ]


def _combine(run: StageRun, config: SynthesisConfig, constraints: Sequence[Constraint]) -> list[Combination]:
    """Read the combinations or draw one a dialogue, without the kinds left out; `combinations.jsonl` holds them."""
    require_kinds(config.leave_out, constraints, f"leave_out, {config.constraints}")
    found = read_combinations(config.combinations, constraints) if config.combinations else _draw(config, constraints)
    kept = [each for each in found if not each.kinds & set(config.leave_out)]
    if not kept:
        raise InputError(f"leave_out: found {', '.join(config.leave_out)}; expected a kind less, nothing else is left")
    run.count(combinations=len(kept), combinations_left_out=len(found) - len(kept))
    if run.is_main:
        write_rows(run.folder / "combinations.jsonl", (each.to_row() for each in kept))
    return kept


def _draw(config: SynthesisConfig, constraints: Sequence[Constraint]) -> list[Combination]:
    rng = random.Random(f"{config.seed} drawn combinations")
    allowed = [each for each in constraints if each.kind not in config.leave_out]
    number = config.num_dialogues if allowed else 0
    return [draw_combination(allowed, config.max_constraints, rng) for _ in range(number)]


def _report(run: StageRun, held: HeldShards, rows: Sequence[dict[str, Any]]) -> None:
    ended = Counter(dialogue.ended for dialogue in held.dialogues)
    lost_at = Counter(len(dialogue.replies) + 1 for dialogue in held.dialogues if dialogue.ended == "lost")
    run.count(
        dialogues_sampled=len(held.dialogues),
        dialogues_complete=ended["complete"],
        dialogues_lost=ended["lost"],
        dialogues_context_full=ended["context_full"],
        replies_cut_off=held.num_cut_off,
        shards_resumed=held.num_resumed,
        conversations_written=len(rows),
    )
    written_at = Counter(row["turn"] for row in rows)
    run.record(lost_by_turn=dict(sorted(lost_at.items())), conversations_by_turn=dict(sorted(written_at.items())))
