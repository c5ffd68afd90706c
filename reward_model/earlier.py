"""Is a new reward model weaker than that of the round before? Asked before any policy is trained on what it prefers.

Reward models restart each round from the newest chat checkpoint, on all preferences so far (section 3.2.2), and a
restart now and then ends worse than what it replaces. Both models rank the same held-out pairs of all rounds, which
neither was trained on. Only what annotators preferred decides; no judge and no test prompt takes part.
"""

import shutil
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

from chat_model.conversation import PreferencePair
from chat_model.errors import InputError
from chat_model.stage import RUN_FILE, StageRun
from reward_model.arguments import RewardModelArguments
from reward_model.evaluate.scored_pairs import ScoredPairs, score_pairs
from reward_model.scoring import RewardScorer
from reward_model.training_record import read_training

AGAINST_EARLIER = "against_earlier"  # among the metrics of `run.json`
NEW, EARLIER = "new", "earlier"  # whose weights the stage left
MAX_CHANCE = 0.025  # that an equal model does as badly; one side of 95 %
_OF_THE_TRAINING = (RUN_FILE, "metrics.jsonl")


def check_earlier(arguments: RewardModelArguments, uses_adapter: bool) -> None:
    """Raise InputError, before anything is trained, where the comparison could not be made or obeyed."""
    if arguments.if_weaker == "keep_earlier" and uses_adapter:
        raise InputError(
            "if_weaker: keep_earlier cannot replace a LoRA adapter, which fits the base model of its own round alone; "
            "set if_weaker: stop, or tell"
        )
    if arguments.earlier_model is not None and not arguments.test_preferences:
        read_training(arguments.earlier_model)


def score_with_earlier(
    arguments: RewardModelArguments, pairs: Sequence[PreferencePair], dtype: str
) -> ScoredPairs | None:
    """Return the held-out `pairs` as the model of the round before scores them; None where no such model is given.

    The model is gone when this returns, so that it need not fit beside the one that is trained. Every process calls.
    """
    if arguments.earlier_model is None:
        return None
    scorer = RewardScorer.from_checkpoint(arguments.earlier_model, arguments.score_batch_tokens, dtype)
    return score_pairs(pairs, scorer)


def hold_against_earlier(
    run: StageRun, arguments: RewardModelArguments, new: ScoredPairs, earlier: ScoredPairs
) -> ScoredPairs:
    """Record how the two models compare, do what `if_weaker` says, and return the scores of the one that is left.

    Args:
        run: its folder holds the new model; where the earlier one is kept, that one afterwards.
        new: all held-out pairs, scored by the new model.
        earlier: the same pairs, scored by that of the round before.

    Raises:
        InputError: the new model is weaker and `if_weaker` is "stop".
    """
    found = compare(*(scored.take(_counted(arguments, new.pairs)) for scored in (new, earlier)))
    keep_earlier = found["weaker"] and arguments.if_weaker == "keep_earlier"
    run.record(**{AGAINST_EARLIER: {**found, "kept": EARLIER if keep_earlier else NEW}})
    if not found["weaker"]:
        return new
    if arguments.if_weaker == "stop":
        raise InputError(
            f"earlier_model: {_told(found)}; train it longer or at another learning_rate, collect more preferences, or "
            "set if_weaker: keep_earlier"
        )
    run.note(f"{_told(found)}; {'the earlier one is kept' if keep_earlier else 'it is kept all the same'}")
    if keep_earlier:
        _take_over(run, str(arguments.earlier_model))
    return earlier if keep_earlier else new


def compare(new: ScoredPairs, earlier: ScoredPairs) -> dict[str, Any]:
    """Return both accuracies over the same pairs, and whether the new model is weaker beyond chance.

    ``chance`` is the probability that of two equally good models one does this badly: the exact one-sided test of
    McNemar, on the pairs that only one of the two ranks right.
    """
    is_right, was_right = new.gaps > 0, earlier.gaps > 0
    gained, lost, count = int((is_right & ~was_right).sum()), int((was_right & ~is_right).sum()), len(new)
    chance = chance_of_so_few(gained, gained + lost)
    return {
        "count": count,
        "accuracy": float(is_right.mean()) if count else None,
        "accuracy_of_earlier": float(was_right.mean()) if count else None,
        "only_new_right": gained,
        "only_earlier_right": lost,
        "chance": chance,
        "weaker": chance < MAX_CHANCE,
    }


def chance_of_so_few(successes: int, trials: int) -> float:
    """Return the probability of at most this many heads in so many tosses of a fair coin."""
    return sum(comb(trials, heads) for heads in range(successes + 1)) / 2**trials


def _counted(arguments: RewardModelArguments, pairs: Sequence[PreferencePair]) -> list[int]:
    """Return the numbers of the pairs of the model's domain that the earlier model was not trained on either."""
    own = [index for index, pair in enumerate(pairs) if arguments.domain in ("all", pair.domain)]
    if arguments.test_preferences:
        return own
    training = read_training(str(arguments.earlier_model))
    return [index for index in own if training.held_out(pairs[index])]


def _told(found: dict[str, Any]) -> str:
    return (
        f"the new reward model ranks {found['accuracy']:.1%} of {found['count']} held-out pairs right where that of "
        f"the round before ranks {found['accuracy_of_earlier']:.1%} (chance {found['chance']:.2g})"
    )


def _take_over(run: StageRun, earlier_model: str) -> None:
    """Put the earlier model's files in the place of the new one's; what tells of the training stays."""
    if not run.is_main:
        return
    for weights in run.folder.glob("*.safetensors*"):
        weights.unlink()
    for file in Path(earlier_model).iterdir():
        if file.is_file() and file.name not in _OF_THE_TRAINING:
            shutil.copy2(file, run.folder / file.name)
