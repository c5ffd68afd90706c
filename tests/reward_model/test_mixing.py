"""Splits and mixtures: exact counts, seeded draws, no prompt on both sides, and refusals instead of repeats."""

import pytest

from chat_model.conversation import Message, PreferencePair
from chat_model.errors import InputError
from reward_model.mixing import drop_unsafe_chosen, hold_out, mix_domains, opening


def make_pair(question, domain="helpfulness", answer="yes", **labels):
    return PreferencePair(
        (Message("user", question),),
        (Message("assistant", answer),),
        (Message("assistant", "no"),),
        domain=domain,
        **labels,
    )


HELPFUL = [make_pair(f"h{index}") for index in range(90)]
SAFETY = [make_pair(f"s{index}", "safety") for index in range(60)]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.1, 10), (0.4, 60)])
def test_share_is_of_the_whole_mixture(share, expected):
    mixture = mix_domains(HELPFUL + SAFETY, "helpfulness", share, seed=0)
    assert [pair for pair in mixture if pair.domain == "helpfulness"] == HELPFUL
    others = [pair for pair in mixture if pair.domain == "safety"]
    assert len(others) == expected == len(set(others))


def test_draw_hangs_on_the_seed():
    draws = [mix_domains(HELPFUL + SAFETY, "helpfulness", 0.1, seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_share_that_would_need_repeats_is_refused_with_the_largest_possible():
    with pytest.raises(InputError, match=r"needs 90 pairs .* found 60; the largest share without repeats is 0.400"):
        mix_domains(HELPFUL + SAFETY, "helpfulness", 0.5, seed=0)


@pytest.mark.parametrize(
    ("pairs", "domain", "share", "message"),
    [
        (HELPFUL, "safety", 0.0, "domain: safety: found none among 90"),
        ([make_pair("x", None)], "safety", 0.0, "pairs without a domain"),
        (HELPFUL, "helpfulness", 1.0, "other_domain_share: found 1.0"),
    ],
)
def test_mixture_refuses(pairs, domain, share, message):
    with pytest.raises(InputError, match=message):
        mix_domains(pairs, domain, share, seed=0)


def test_domain_all_takes_every_pair():
    assert mix_domains([*HELPFUL, make_pair("x", None)], "all", 0.0, seed=0) == [*HELPFUL, make_pair("x", None)]


def test_hold_out_keeps_a_key_on_one_side_whatever_else_is_there():
    items = [f"{key}-{copy}" for key in range(400) for copy in range(2)]
    train, test = hold_out(items, lambda item: item.split("-")[0], 0.25, seed=3)
    assert sorted(train + test) == sorted(items)
    assert not {item.split("-")[0] for item in train} & {item.split("-")[0] for item in test}
    assert 140 <= len(test) <= 260  # 200 expected, standard deviation 17
    later_test = hold_out(items[:100] + ["new-0"], lambda item: item.split("-")[0], 0.25, seed=3)[1]
    assert set(later_test) - {"new-0"} == set(test) & set(items[:100])
    assert hold_out(items, str, 0.25, seed=4)[1] != hold_out(items, str, 0.25, seed=3)[1]


def test_opening_is_the_first_user_message():
    messages = (
        Message("system", "be kind"),
        Message("user", "hi"),
        Message("assistant", "hello"),
        Message("user", "bye"),
    )
    assert opening(messages) == "hi"


def test_only_an_unsafe_chosen_over_a_safe_rejected_is_dropped():
    labels = [(chosen, rejected) for chosen in (True, False, None) for rejected in (True, False, None)]
    pairs = [make_pair("q", chosen_safe=chosen, rejected_safe=rejected) for chosen, rejected in labels]
    kept = [(pair.chosen_safe, pair.rejected_safe) for pair in drop_unsafe_chosen(pairs)]
    assert kept == [label for label in labels if label != (False, True)]
