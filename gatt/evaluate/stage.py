"""The stage: hold held-out dialogues with the model under test and measure how many of its answers still follow."""

import random
from collections import Counter
from dataclasses import asdict

from chat_model.errors import InputError
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from gatt.checks import require_checkers
from gatt.constraints import Combination, read_combinations, read_constraints, refuse_shared
from gatt.dialogue import Dialogue, Plan, hold, transcript
from gatt.evaluate.adherence import EMPTY_REPLY, adherence_by_turn, ask_at, take_first
from gatt.evaluate.config import AdherenceConfig
from gatt.plans import pair, read_questions
from gatt.sampler import ModelSampler


def evaluate(run: StageRun, config: AdherenceConfig) -> None:
    """Record ``turns: {turn: {adherence, count, low, high}}`` and write `dialogues.jsonl` with what was said."""
    plans = make_plans(run, config)
    sampler = ModelSampler.from_checkpoint(
        config.model_name_or_path,
        dtype=config.dtype,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        batch_tokens=config.batch_tokens,
        seed=config.seed,
    )
    dialogues = hold(plans, config.instruction_as, sampler, take_first, sampler.fits)
    measured = adherence_by_turn(dialogues, config.turns)
    if not measured:
        raise InputError(f"{config.model_name_or_path}: no answer was put to the test at turns {config.turns}")
    run.record(turns={str(turn): asdict(adherence) for turn, adherence in measured.items()})
    _count(run, dialogues, config)
    if run.is_main:
        write_rows(run.folder / "dialogues.jsonl", (transcript(each, config.instruction_as) for each in dialogues))


def make_plans(run: StageRun, config: AdherenceConfig) -> list[Plan]:
    """Return the dialogues to hold, up to the last measured turn, with the questions that test their constraints."""
    combinations = _read_held_out(config)
    questions, left_out = read_questions(config.dialogues)
    run.count(dialogues_read=len(questions) + left_out, dialogues_with_system_message=left_out)
    plans = pair(questions, combinations, config.num_dialogues, max(config.turns), config.seed)
    rng = random.Random(f"{config.seed} asked")
    return [ask_at(plan, config.turns, rng) for plan in plans]


def _read_held_out(config: AdherenceConfig) -> list[Combination]:
    constraints = read_constraints(config.constraints)
    held_out = read_combinations(config.combinations, constraints)
    require_checkers((constraint for each in held_out for constraint in each.constraints), required=True)
    if config.training_combinations:
        refuse_shared(held_out, read_combinations(config.training_combinations, constraints), config.combinations)
    return held_out


def _count(run: StageRun, dialogues: list[Dialogue], config: AdherenceConfig) -> None:
    ended = Counter(dialogue.ended for dialogue in dialogues)
    replies = [reply for dialogue in dialogues for reply in dialogue.replies]
    run.count(
        dialogues_held=len(dialogues),
        dialogues_context_full=ended["context_full"],
        dialogues_too_short=sum(len(dialogue.plan.questions) < max(config.turns) for dialogue in dialogues),
        empty_replies=sum(reply.text == EMPTY_REPLY for reply in replies),
    )
