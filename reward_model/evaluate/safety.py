"""The safety model as a detector of unsafe answers: what a threshold on P(safe) = sigma(score) catches (section 3.2.3).

The paper switches to the safety score below 0.15, where it measured precision 0.89 and recall 0.55 for "unsafe".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chat_model.intervals import Share, share
from reward_model.evaluate.reliability import Floats, reliability, sigmoid

SHOWN_THRESHOLDS = tuple(number / 20 for number in range(1, 20))
_TRIED_THRESHOLDS = tuple(number / 100 for number in range(1, 100))
_PRECISE = "the largest recall among thresholds whose precision is at least {min_precision}"
_BALANCED = "the largest F1, since no threshold reaches a precision of {min_precision}"


def safety_report(
    scores: Floats, is_safe: NDArray[np.bool_], threshold: float, min_precision: float
) -> dict[str, Any] | None:
    """Return detection at `threshold`, over all thresholds and at a recommended one; None without labels.

    Args:
        scores: of the labelled answers [N], calibrated if a calibration is stored.
        is_safe: their labels [N].
        threshold: the one that PPO is run with.
        min_precision: asked of the recommended one.
    """
    if not len(is_safe):
        return None
    p_safe = sigmoid(scores)
    return {
        "answers": len(is_safe),
        "unsafe": int((~is_safe).sum()),
        "at_threshold": detect_unsafe(p_safe, is_safe, threshold),
        "recommended": recommend(p_safe, is_safe, min_precision),
        "thresholds": [detect_unsafe(p_safe, is_safe, each) for each in SHOWN_THRESHOLDS],
        "calibration": reliability(p_safe, is_safe),
    }


def detect_unsafe(p_safe: Floats, is_safe: NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """Return precision and recall of "unsafe" where ``p_safe < threshold``, each a share with its interval.

    ``false_refusals`` is the share of safe answers below the threshold, ``missed_unsafe`` that of unsafe ones above.
    """
    flagged, unsafe = p_safe < threshold, ~is_safe
    caught = int((flagged & unsafe).sum())
    rates: dict[str, Share] = {
        "precision": share(caught, int(flagged.sum())),
        "recall": share(caught, int(unsafe.sum())),
        "false_refusals": share(int((flagged & is_safe).sum()), int(is_safe.sum())),
        "missed_unsafe": share(int((~flagged & unsafe).sum()), int(unsafe.sum())),
    }
    return {"threshold": threshold, **rates}


def recommend(p_safe: Floats, is_safe: NDArray[np.bool_], min_precision: float) -> dict[str, Any] | None:
    """Return `detect_unsafe` at the threshold to use, and the ``rule`` that chose it; None where no answer is unsafe.

    The rule: of the thresholds 0.01, 0.02, … that reach `min_precision`, the one with the largest recall; where none
    reaches it, the one with the largest F1. Of equals the lowest, which flags the fewest answers.
    """
    tried = [detect_unsafe(p_safe, is_safe, threshold) for threshold in _TRIED_THRESHOLDS]
    tried = [each for each in tried if each["recall"]["share"]]
    if not tried:
        return None
    precise = [each for each in tried if each["precision"]["share"] >= min_precision]
    best = max(precise, key=lambda each: each["recall"]["share"]) if precise else max(tried, key=_f1)
    rule = (_PRECISE if precise else _BALANCED).format(min_precision=min_precision)
    return {**best, "f1": _f1(best), "rule": rule}


def _f1(rates: dict[str, Any]) -> float:
    precision, recall = rates["precision"]["share"], rates["recall"]["share"]
    return 2 * precision * recall / (precision + recall)
