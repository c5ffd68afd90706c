"""The stage: score held-out pairs, calibrate where asked, write `evaluation.json` and plots."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from chat_model.conversation import PreferencePair
from chat_model.errors import InputError
from chat_model.rows import read_preferences
from chat_model.stage import StageRun
from reward_model.calibration import Calibration, Labels, store_calibration
from reward_model.evaluate.calibrate import calibration_error, fit, halves
from reward_model.evaluate.config import EvaluateConfig
from reward_model.evaluate.measures import measure, record_evaluation
from reward_model.evaluate.scored_pairs import ScoredPairs, score_pairs
from reward_model.mixing import hold_out, opening
from reward_model.scoring import RewardScorer
from reward_model.selection import drop_bad_labels


def evaluate_checkpoint(run: StageRun, config: EvaluateConfig) -> None:
    """Measure the reward model that `config` names; a calibration, where asked for, goes into the model's own folder.

    Raises:
        InputError: a bad row, a checkpoint that is no reward model, no pair of the domain, labels that cannot be
            fitted.
    """
    scored, calibration = _score(run, config)
    settings = (config.safety_threshold, config.min_precision, config.length_tolerance)
    evaluation = measure(scored, config.domain, *settings)
    record_evaluation(run, evaluation)
    if run.is_main and config.plots:
        from reward_model.evaluate.plots import draw_all

        draw_all(evaluation, run.folder)
    if run.is_main and calibration is not None:
        store_calibration(config.model, calibration)


def _score(run: StageRun, config: EvaluateConfig) -> tuple[ScoredPairs, Calibration | None]:
    """Return the pairs to evaluate on with their scores, calibrated on other ones where the config asks for it."""
    labels = config.calibrate_on
    if labels is not None and not Path(config.model).is_dir():
        raise InputError(f"calibrate_on: {config.model} is no folder; download the model into one to calibrate it")
    pairs, counts = read_held_out(config.preferences, config.test_share, config.seed)
    run.count(**counts)
    if not pairs:
        raise InputError(f"preferences: no pair is left of {counts['read']} to evaluate on")
    scorer = RewardScorer.from_checkpoint(
        config.model, config.batch_tokens, config.dtype, cache=config.score_cache, calibrated=labels is None
    )
    scored = score_pairs(pairs, scorer)
    return (scored, None) if labels is None else _calibrate(run, config, scored, labels)


def read_held_out(
    sources: Sequence[str], test_share: float | None, seed: int
) -> tuple[list[PreferencePair], dict[str, int]]:
    """Return the pairs to evaluate on, and counts of what was left out.

    Pairs whose safety labels rule them out of training are left out, and, where a `test_share` is given, those whose
    prompts the training with it and `seed` did not hold out.

    Raises:
        InputError: a bad row.
    """
    read = [pair for source in sources for pair in read_preferences(source)]
    kept, counts = drop_bad_labels(read)
    pairs = kept
    if test_share is not None:
        _, pairs = hold_out(kept, lambda pair: opening(pair.prompt), test_share, seed)
    return pairs, {**counts, "not_held_out": len(kept) - len(pairs)}


def _calibrate(
    run: StageRun, config: EvaluateConfig, scored: ScoredPairs, labels: Labels
) -> tuple[ScoredPairs, Calibration]:
    """Fit on half of the prompts; return the other half with calibrated scores, and the calibration."""
    fitted_on, evaluated_on = halves(scored, config.seed)
    calibration = fit(fitted_on, labels)
    calibrated = evaluated_on.calibrated(calibration)
    run.count(calibrated_on=len(fitted_on), evaluated=len(evaluated_on))
    before, after = (calibration_error(each, labels) for each in (evaluated_on, calibrated))
    run.record(calibration={**asdict(calibration), "error_before": before, "error_after": after})
    return calibrated, calibration
