"""What each scenario of an evaluation says and how it judges, read and drawn before any model is loaded."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chat_model.dotted import resolve
from chat_model.errors import InputError
from chat_model.rows import read_prompts
from chat_model.stage import StageRun
from gatt.checks import require_checkers
from gatt.constraints import (
    Combination,
    Constraint,
    read_combinations,
    read_constraints,
    refuse_shared,
    require_kinds,
)
from gatt.dialogue import ChooseReplies, Plan
from gatt.evaluate.adherence import take_first, take_first_uninstructed
from gatt.evaluate.config import AdherenceConfig
from gatt.evaluate.scenarios import Scenario, make_plans
from gatt.judging import Judge
from gatt.plans import pair, read_questions


@dataclass(frozen=True)
class Measurement:
    """One scenario: what is said, how replies are judged, and how many dialogues it cannot be tried on."""

    scenario: Scenario
    plans: list[Plan]
    choose: ChooseReplies
    num_left_out: int


def prepare(run: StageRun, config: AdherenceConfig) -> list[Measurement]:
    """Return the scenarios in the order asked for, everything read and drawn, so that mistakes show at once."""
    constraints, judge = read_constraints(config.constraints), _find_judge(config)
    plans = read_plans(run, config, constraints)
    return [_prepare_one(scenario, plans, constraints, judge, config) for scenario in dict.fromkeys(config.scenarios)]


def _prepare_one(
    scenario: Any,
    plans: Sequence[Plan],
    constraints: Sequence[Constraint],
    judge: Judge | None,
    config: AdherenceConfig,
) -> Measurement:
    made = make_plans(
        scenario,
        plans,
        config.turns,
        seed=config.seed,
        constraints=constraints,
        distractors=_read_distractors(config) if scenario == "distractors" else (),
        override_turn=config.override_turn,
    )
    if not made:
        raise InputError(f"{config.constraints}: no kind has two values; the scenario override expects one that has")
    choose: ChooseReplies = functools.partial(take_first, judge=judge, judged_turns=config.turns)
    if scenario == "no_instruction":
        choose = _act_out_nothing(constraints, config)
    return Measurement(scenario, made, choose, len(plans) - len(made))


def _act_out_nothing(constraints: Sequence[Constraint], config: AdherenceConfig) -> ChooseReplies:
    checked = tuple(constraint for constraint in constraints if constraint.checker)
    if not checked:
        raise InputError(f"{config.constraints}: no constraint has a checker; the scenario no_instruction needs one")
    return functools.partial(take_first_uninstructed, constraints=checked)


def _find_judge(config: AdherenceConfig) -> Judge | None:
    try:
        return resolve(config.judge) if config.judge else None
    except InputError as error:
        raise InputError(f"judge: {error}") from error


def read_plans(run: StageRun, config: AdherenceConfig, constraints: Sequence[Constraint]) -> list[Plan]:
    """Return the dialogues to hold, up to the last measured turn, with their own questions."""
    combinations = _read_held_out(run, config, constraints)
    questions, left_out = read_questions(config.dialogues)
    run.count(dialogues_read=len(questions) + left_out, dialogues_with_system_message=left_out)
    extend = config.extend_dialogues
    return pair(questions, combinations, config.num_dialogues, max(config.turns), config.seed, extend)


def _read_held_out(run: StageRun, config: AdherenceConfig, constraints: Sequence[Constraint]) -> list[Combination]:
    held_out = _read_combinations(config, constraints)
    require_checkers((constraint for each in held_out for constraint in each.constraints), required=not config.judge)
    if config.training_combinations:
        training = read_combinations(config.training_combinations, constraints)
        refuse_shared(held_out, training, config.combinations or "kinds")
        run.record(kinds_not_trained=sorted(_kinds(held_out) - _kinds(training)))
    return held_out


def _read_combinations(config: AdherenceConfig, constraints: Sequence[Constraint]) -> list[Combination]:
    if config.combinations:
        return read_combinations(config.combinations, constraints)
    require_kinds(config.kinds, constraints, f"kinds, {config.constraints}")
    return [Combination((each,)) for each in constraints if each.kind in config.kinds]


def _kinds(combinations: Sequence[Combination]) -> set[str]:
    return set().union(*(each.kinds for each in combinations))


def _read_distractors(config: AdherenceConfig) -> list[str]:
    assert config.distractors is not None
    return [prompt.prompt[-1].content for prompt in read_prompts(config.distractors)]
