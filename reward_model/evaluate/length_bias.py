"""Whether a reward model prefers long answers because they are long.

People prefer longer answers somewhat, too, so the correlation of score and length alone proves nothing; beside it stand
the accuracy where both answers are equally long, and where the preferred one is the shorter.
"""

from typing import Any

import numpy as np

from chat_model.intervals import share
from reward_model.evaluate.accuracy import accuracy
from reward_model.evaluate.reliability import Floats


def length_bias(
    scores: tuple[Floats, Floats], lengths: tuple[Floats, Floats], tolerance: float = 0.1
) -> dict[str, Any]:
    """Return how score and length go together.

    * ``correlation``: Pearson's, of score and length over all 2 N answers.
    * ``correlation_within_pairs``: of score gap and length gap over the pairs, about 0, so that it does not matter
      which of two answers comes first.
    * ``longer_is_chosen``: share of pairs of unlike length whose chosen answer is the longer one; what a model that
      only counts tokens would reach.
    * ``accuracy``: on pairs that are ``length_matched``, and on the others by whether the chosen one is the ``longer``
      or the ``shorter``.

    Args:
        scores: of the chosen and the rejected answers, [N] each.
        lengths: of the same answers in tokens, [N] each.
        tolerance: answers count as equally long when they differ by at most this share of the longer one.
    """
    gaps, length_gaps = scores[0] - scores[1], lengths[0] - lengths[1]
    matched = np.abs(length_gaps) <= tolerance * np.maximum(*lengths)
    kinds = {"length_matched": matched, "longer": ~matched & (length_gaps > 0), "shorter": ~matched & (length_gaps < 0)}
    unlike = length_gaps != 0
    return {
        "correlation": _correlation(_centered(np.concatenate(scores)), _centered(np.concatenate(lengths))),
        "correlation_within_pairs": _correlation(gaps, length_gaps),
        "longer_is_chosen": share(int((length_gaps > 0).sum()), int(unlike.sum())),
        "accuracy": {name: accuracy(gaps[kind].tolist()) for name, kind in kinds.items()},
        "tolerance": tolerance,
    }


def _centered(values: Floats) -> Floats:
    return values - values.mean()


def _correlation(left: Floats, right: Floats) -> float | None:
    """Return the cosine of two lists of deviations; None where one of them does not vary."""
    norm = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / norm if norm > 0 else None
