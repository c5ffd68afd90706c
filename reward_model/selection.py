"""From preference files to the pairs that train a reward model and those that test it, with every drop counted."""

import warnings
from collections.abc import Sequence

from chat_model.conversation import PreferencePair
from chat_model.errors import InputError
from chat_model.rows import read_preferences
from chat_model.stage import StageRun
from reward_model.arguments import RewardModelArguments
from reward_model.data import fill_ratings
from reward_model.mixing import (
    Mixture,
    drop_contradictory_labels,
    drop_unsafe_chosen,
    hold_out,
    mix_domains,
    opening,
    tally,
)


def select_pairs(
    run: StageRun, arguments: RewardModelArguments, seed: int
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Return the training mixture and the held-out pairs of every domain; the counts go to `run`.

    Raises:
        InputError: a bad row, unrated pairs where the margin needs a rating, a share that cannot be filled, no pair.
    """
    train_pairs = without_bad_labels(run, _read(arguments.preferences, arguments))
    if arguments.test_preferences:
        test_pairs = without_bad_labels(run, _read(arguments.test_preferences, arguments), "test_")
    else:
        train_pairs, test_pairs = hold_out(train_pairs, lambda pair: opening(pair.prompt), arguments.test_share, seed)
    mixture = Mixture(arguments.domain, arguments.other_domain_share)
    mixed = mix_domains(train_pairs, mixture, seed, arguments.allow_repeats)
    _check(arguments, mixed, test_pairs)
    num_distinct = len({id(pair) for pair in mixed})
    run.count(
        held_out=len(test_pairs),
        not_in_mixture=len(train_pairs) - num_distinct,
        mixture={"pairs": len(mixed), "repeated": len(mixed) - num_distinct, **tally(mixed)},
    )
    return mixed, test_pairs


def _read(sources: Sequence[str], arguments: RewardModelArguments) -> list[PreferencePair]:
    pairs: list[PreferencePair] = []
    for source in sources:
        found = read_preferences(source)
        try:
            pairs += fill_ratings(found, arguments.margin, arguments.default_rating)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
    return pairs


def without_bad_labels(run: StageRun, pairs: Sequence[PreferencePair], prefix: str = "") -> list[PreferencePair]:
    """Drop the pairs whose safety labels rule them out, and count what was read and dropped under `prefix`."""
    kept, numbers = drop_bad_labels(pairs)
    run.count(**{f"{prefix}{name}": number for name, number in numbers.items()})
    return kept


def drop_bad_labels(pairs: Sequence[PreferencePair]) -> tuple[list[PreferencePair], dict[str, int]]:
    """Return the pairs whose safety labels do not rule them out, and how many were read and dropped by reason."""
    consistent = drop_contradictory_labels(pairs)
    kept = drop_unsafe_chosen(consistent)
    return kept, {
        "read": len(pairs),
        "dropped_contradictory_labels": len(pairs) - len(consistent),
        "dropped_unsafe_chosen": len(consistent) - len(kept),
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
