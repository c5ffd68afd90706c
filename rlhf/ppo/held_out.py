"""Early stopping on held-out prompts, as the paper does (section 3.2.3), and the best policy kept.

Every `evaluate_every` iterations the policy answers prompts that it never trains on. The mean R_c and the share of
prompts on which it beats the starting policy are measured; the one named by `stop_on` decides which policy is the best.
A judge, if there is one, grades the same responses, for those who look on: it decides nothing.
The reward that is optimised is whitened per batch, so it cannot tell one iteration from another; R_c can.
"""

import shutil
from pathlib import Path

import torch
from accelerate.utils import gather_object

from chat_model.conversation import to_dicts
from rlhf.evaluate.grades import mean_grades
from rlhf.evaluate.win_rate import win_rate
from rlhf.ppo.checkpoint import checkpoints, newest_state, removed_if_disk_is_full
from rlhf.ppo.collection import respond, score
from rlhf.ppo.rewards import choose_scores
from rlhf.ppo.rollout import Responses
from rlhf.ppo.session import Session
from rlhf.ppo.state import TrainingState

_DRAW = 0  # held-out responses are drawn with the same random numbers each time; iterations draw from 1 on
_FOLDER = "best"


def judge(session: Session, state: TrainingState) -> dict[str, float]:
    """Judge the policy, keep it if it is the best so far, and return the held-out metrics.

    The first judgement is of the starting policy, over which wins are counted from then on.
    """
    scores, metrics = _measure(session, state.iterations)
    state.start_scores = state.start_scores or scores
    wins = win_rate(scores, state.start_scores)["win_rate"]
    metrics = {"held_out_reward": sum(scores) / len(scores), "held_out_win_rate": wins, **metrics}
    if note_value(state, metrics[f"held_out_{session.config.stop_on}"]):
        _keep_best(session, state)
    return metrics


def note_value(state: TrainingState, value: float) -> bool:
    """Note a judgement of the policy after ``state.iterations``; return whether it is the best so far."""
    is_best = state.best_value is None or value > state.best_value
    if is_best:
        state.best_value, state.best_iteration = value, state.iterations
    state.evaluations_without_gain = 0 if is_best else state.evaluations_without_gain + 1
    return is_best


def should_stop(state: TrainingState, patience: int) -> bool:
    """Return whether `patience` judgements in a row brought no gain; 0 never stops."""
    return 0 < patience <= state.evaluations_without_gain


def take_best(session: Session, state: TrainingState) -> None:
    """Make the best policy the run's; every rank must call."""
    if session.accelerator.is_main_process:
        best = session.run.folder / _FOLDER
        for file in (best / _name(state.best_iteration)).iterdir():
            file.rename(session.run.folder / file.name)
        shutil.rmtree(best)
    session.accelerator.wait_for_everyone()


def forget_other_bests(folder: Path, state: TrainingState) -> None:
    """Remove policies kept below `folder` that neither the run nor its newest checkpoint knows as the best."""
    kept = {_name(state.best_iteration)}
    if checkpoints(folder):
        kept.add(_name(newest_state(folder).best_iteration))
    for other in (folder / _FOLDER).glob("iteration-*"):
        if other.name not in kept:
            shutil.rmtree(other)


def _name(iteration: int | None) -> str:
    return f"iteration-{iteration or 0:06d}"


def _measure(session: Session, iteration: int) -> tuple[list[float], dict[str, float]]:
    """Return R_c, raw, of a response to each held-out prompt, mean length and grades; the same on every rank."""
    rank, ranks = session.accelerator.process_index, session.accelerator.num_processes
    responses = respond(session, session.held_out, _DRAW)
    helpfulness, safety = score(session.models.scorers, responses, iteration)
    is_safety = torch.tensor([prompt.is_safety for prompt in responses.prompts], device=safety.device)
    chosen = choose_scores(helpfulness, safety, is_safety, session.config.safety_threshold).scores.tolist()
    lengths = responses.response_mask.sum(dim=1).tolist()
    measured = zip(chosen, lengths, _grades(session, responses), strict=True)
    rows = [(index * ranks + rank, *values) for index, values in enumerate(measured)]
    rows = sorted(gather_object(rows)) if ranks > 1 else rows
    grades = {f"held_out_{name}_grade": grade for name, grade in mean_grades([row[-1] for row in rows]).items()}
    length = sum(length for _, _, length, _ in rows) / len(rows)
    return [value for _, value, _, _ in rows], {"held_out_length": length, **grades}


def _grades(session: Session, responses: Responses) -> list[dict[str, float]]:
    """Return what the judge says of each response of this rank; nothing where there is no judge."""
    if session.judge is None:
        return [{} for _ in responses.texts]
    pairs = zip(responses.prompts, responses.texts, strict=True)
    return [dict(session.judge(to_dicts(prompt.prompt), text)) for prompt, text in pairs]


def _keep_best(session: Session, state: TrainingState) -> None:
    target = session.run.folder / _FOLDER / _name(state.best_iteration)
    partial = target.with_suffix(".partial")
    with removed_if_disk_is_full(partial):
        session.save_policy(partial)
    if session.accelerator.is_main_process:
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        forget_other_bests(session.run.folder, state)
    session.accelerator.wait_for_everyone()
