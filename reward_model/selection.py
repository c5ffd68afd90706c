"""From preference files to the pairs that train a reward model and those that test it, with every drop counted."""

import warnings
from collections import Counter
from collections.abc import Sequence

from chat_model.conversation import PreferencePair
from chat_model.errors import InputError
from chat_model.rows import read_preferences
from chat_model.stage import StageRun
from reward_model.arguments import RewardModelArguments
from reward_model.data import fill_ratings
from reward_model.mixing import drop_unsafe_chosen, hold_out, mix_domains, opening


def select_pairs(
    run: StageRun, arguments: RewardModelArguments, seed: int
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Return the training mixture and the held-out pairs of every domain; the counts go to `run`.

    Raises:
        InputError: a bad row, unrated pairs where the margin needs a rating, a share that cannot be filled, no pair.
    """
    pairs = _read(arguments.preferences, arguments)
    kept = drop_unsafe_chosen(pairs)
    if arguments.test_preferences:
        train_pairs, test_pairs = kept, drop_unsafe_chosen(_read(arguments.test_preferences, arguments))
    else:
        train_pairs, test_pairs = hold_out(kept, lambda pair: opening(pair.prompt), arguments.test_share, seed)
    mixture = mix_domains(train_pairs, arguments.domain, arguments.other_domain_share, seed)
    _check(arguments, mixture, test_pairs)
    run.count(
        read=len(pairs),
        dropped_unsafe_chosen=len(pairs) - len(kept),
        held_out=len(test_pairs),
        not_in_mixture=len(train_pairs) - len(mixture),
        mixture={"pairs": len(mixture), **_tally(mixture)},
    )
    return mixture, test_pairs


def _read(sources: Sequence[str], arguments: RewardModelArguments) -> list[PreferencePair]:
    pairs = [pair for source in sources for pair in read_preferences(source)]
    return fill_ratings(pairs, arguments.margin, arguments.default_rating)


def _tally(pairs: Sequence[PreferencePair]) -> dict[str, dict[str, int]]:
    return {
        "by_domain": dict(Counter(pair.domain or "none" for pair in pairs)),
        "by_rating": dict(Counter(pair.rating or "unrated" for pair in pairs)),
    }


def _check(
    arguments: RewardModelArguments, mixture: Sequence[PreferencePair], test_pairs: Sequence[PreferencePair]
) -> None:
    if not mixture:
        raise InputError(f"preferences: no pair is left to train on; test_share is {arguments.test_share}")
    if not any(arguments.domain in ("all", pair.domain) for pair in test_pairs):
        raise InputError(f"test_share: {arguments.test_share} holds out no pair of domain {arguments.domain}; raise it")
    if arguments.safety_loss_weight > 0 and all(pair.chosen_safe is pair.rejected_safe is None for pair in mixture):
        raise InputError("safety_loss_weight: above 0, but no pair has 'chosen_safe' or 'rejected_safe'")
    if arguments.domain == "safety" and arguments.safety_loss_weight == 0:
        warnings.warn(
            "domain safety without a safety loss: a constant may shift its scores, so the 0.15 threshold means nothing",
            stacklevel=2,
        )
