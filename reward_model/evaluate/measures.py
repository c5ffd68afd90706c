"""All that is measured of a reward model on held-out pairs, as one JSON object, and its short form for `run.json`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from chat_model.conversation import DOMAINS
from chat_model.errors import InputError
from chat_model.rows import write_json
from chat_model.stage import StageRun
from reward_model.evaluate.accuracy import NONE, accuracy_by_rating, accuracy_table
from reward_model.evaluate.config import PAPER_PRECISION, PAPER_THRESHOLD
from reward_model.evaluate.length_bias import length_bias
from reward_model.evaluate.reliability import pair_reliability
from reward_model.evaluate.safety import safety_report
from reward_model.evaluate.scored_pairs import ScoredPairs

EVALUATION_FILE = "evaluation.json"
_HISTOGRAM_BINS = 40


def measure(
    scored: ScoredPairs,
    domain: str = "all",
    safety_threshold: float = PAPER_THRESHOLD,
    min_precision: float = PAPER_PRECISION,
    length_tolerance: float = 0.1,
) -> dict[str, Any]:
    """Return every measurement; intervals are of 95 %.

    * ``accuracy``: by rating, over the pairs of the model's own `domain`, as are reliability, scores and length.
    * ``by_domain``, ``by_source``: accuracy by rating, over each domain and source that occurs; ``breakdown``: a row
      for every rating × domain × source.
    * ``reliability``: see `pair_reliability`; ``scores``: histogram of the scores; ``length``: see `length_bias`.
    * ``safety``: see `safety_report`, over all labelled answers; None where there are none.

    Raises:
        InputError: no pair of `domain`.
    """
    own = scored.where(lambda pair: domain in ("all", pair.domain))
    if not len(own):
        raise InputError(f"domain: none of {len(scored)} pairs is of domain {domain}")
    return {
        "domain": domain,
        "accuracy": accuracy_by_rating(own.pairs, own.gaps.tolist()),
        "by_domain": _accuracy_by(scored, "domain", DOMAINS),
        "by_source": _accuracy_by(scored, "source", sorted({pair.source or NONE for pair in scored.pairs})),
        "breakdown": accuracy_table(scored.pairs, scored.gaps.tolist()),
        "reliability": pair_reliability(own.gaps),
        "scores": _score_histogram(own),
        "length": length_bias(own.scores, own.lengths, length_tolerance),
        "safety": safety_report(*scored.labelled_answers(), safety_threshold, min_precision),
    }


def record_evaluation(run: StageRun, evaluation: dict[str, Any]) -> None:
    """Write `evaluation.json` into the run's folder, and the short form of it to `run.json`."""
    run.record(
        accuracy=evaluation["accuracy"],
        by_domain=evaluation["by_domain"],
        expected_calibration_error=evaluation["reliability"]["expected_calibration_error"],
        score_length_correlation=evaluation["length"]["correlation"],
    )
    if safety := evaluation["safety"]:
        run.record(safety={name: safety[name] for name in ("at_threshold", "recommended")})
    if run.is_main:
        write_json(run.folder / EVALUATION_FILE, evaluation)


def _accuracy_by(scored: ScoredPairs, field: str, names: Sequence[str]) -> dict[str, Any]:
    tables = {}
    for name in names:
        part = scored.where(lambda pair, name=name: (getattr(pair, field) or NONE) == name)  # type: ignore[misc]
        if len(part):
            tables[name] = accuracy_by_rating(part.pairs, part.gaps.tolist())
    return tables


def _score_histogram(scored: ScoredPairs) -> dict[str, Any]:
    edges = np.histogram_bin_edges(np.concatenate(scored.scores), _HISTOGRAM_BINS)
    kinds = dict(zip(("chosen", "rejected"), scored.scores, strict=True))
    return {
        "edges": edges.tolist(),
        **{
            name: {
                "counts": np.histogram(scores, edges)[0].tolist(),
                "mean": float(scores.mean()),
                "standard_deviation": float(scores.std()),
            }
            for name, scores in kinds.items()
        },
    }
