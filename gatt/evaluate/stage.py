"""The stage: hold held-out dialogues with the model under test and measure how many of its answers still follow."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from chat_model.errors import InputError
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from gatt.dialogue import Dialogue, InstructionAs, context, hold, transcript
from gatt.evaluate.adherence import EMPTY_REPLY, adherence_by_turn, kinds_tested
from gatt.evaluate.config import AdherenceConfig
from gatt.evaluate.preparation import Measurement, prepare
from gatt.groups import Held, hold_in_groups
from gatt.sampler import ModelSampler
from gatt.system_role import place_instruction


def evaluate(run: StageRun, config: AdherenceConfig) -> None:
    """Record ``turns`` of the first scenario and ``scenarios`` of all, and write what was said in each.

    ``turns`` is ``{turn: {adherence, count, low, high}}``; a scenario has ``turns``, ``by_kind`` and
    ``turns_not_reached``. The first one's transcripts are `dialogues.jsonl`, another's ``dialogues_<scenario>.jsonl``.
    """
    measurements = prepare(run, config)
    names = ("temperature", "max_new_tokens", "batch_tokens", "seed", "engine")
    settings = {name: getattr(config, name) for name in names}
    sampler = ModelSampler.from_checkpoint(
        config.model_name_or_path, dtype=config.dtype, across_processes=False, **settings
    )
    instruction_as = place_instruction(sampler.tokenizer, config.instruction_as)
    sampler.require_room([context(plan, [], instruction_as) for plan in measurements[0].plans])
    measured: dict[str, dict[str, Any]] = {
        each.scenario: _measure(run, each, instruction_as, sampler, config) for each in measurements
    }
    run.record(turns=measured[config.scenarios[0]]["turns"], scenarios=measured, trained_turns=config.trained_turns)


def _measure(
    run: StageRun,
    measurement: Measurement,
    instruction_as: InstructionAs,
    sampler: ModelSampler,
    config: AdherenceConfig,
) -> dict[str, Any]:
    """Hold the dialogues of one scenario, write and count them, and return what was measured."""
    scenario: str = measurement.scenario
    said_as: InstructionAs = "nowhere" if scenario == "no_instruction" else instruction_as
    held = _hold(measurement, said_as, sampler, config)
    dialogues = held.dialogues
    is_first = scenario == config.scenarios[0]
    counts = count_dialogues(dialogues, config.turns)
    counts |= {"replies_cut_off": held.num_cut_off, "dialogues_left_out": measurement.num_left_out}
    run.count(**(counts if is_first else {scenario: counts}))
    if run.is_main:
        name = "dialogues.jsonl" if is_first else f"dialogues_{scenario}.jsonl"
        write_rows(run.folder / name, (transcript(each, said_as) for each in dialogues))
    told = summarize(dialogues, config.turns)
    if not told["turns"]:
        raise InputError(
            f"{config.model_name_or_path}: no answer was put to the test at turns {config.turns} ({scenario})"
        )
    return told


def _hold(measurement: Measurement, said_as: InstructionAs, sampler: ModelSampler, config: AdherenceConfig) -> Held:
    return hold_in_groups(
        measurement.plans,
        sampler,
        lambda group: hold(group, said_as, sampler, measurement.choose, sampler.fits),
        size=config.dialogues_per_batch,
        calls_a_group=max(config.turns),
    )


def summarize(dialogues: Sequence[Dialogue], turns: Sequence[int]) -> dict[str, Any]:
    """Return adherence by turn, the same by kind of constraint, and the measured turns that no dialogue reached."""
    measured = adherence_by_turn(dialogues, turns)
    reached = max((len(dialogue.replies) for dialogue in dialogues), default=0)
    by_kind = {kind: adherence_by_turn(dialogues, turns, kind) for kind in kinds_tested(dialogues)}
    return {
        "turns": _rows(measured),
        "by_kind": {kind: _rows(each) for kind, each in by_kind.items()},
        "turns_not_reached": sorted(turn for turn in set(turns) if turn > reached),
    }


def _rows(measured) -> dict[str, dict[str, float]]:
    return {str(turn): asdict(adherence) for turn, adherence in measured.items()}


def count_dialogues(dialogues: Sequence[Dialogue], turns: Sequence[int]) -> dict[str, Any]:
    """Return how the dialogues ended; ``context_full_by_turn`` counts them by the turn that had no room."""
    full = [dialogue for dialogue in dialogues if dialogue.ended == "context_full"]
    replies = [reply for dialogue in dialogues for reply in dialogue.replies]
    return {
        "dialogues_held": len(dialogues),
        "dialogues_context_full": len(full),
        "context_full_by_turn": dict(sorted(Counter(len(dialogue.replies) + 1 for dialogue in full).items())),
        "dialogues_too_short": sum(len(dialogue.plan.questions) < max(turns) for dialogue in dialogues),
        "empty_replies": sum(reply.text == EMPTY_REPLY for reply in replies),
    }
