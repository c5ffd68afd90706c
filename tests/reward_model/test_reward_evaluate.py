"""Accuracies by rating and domain, and their intervals against published values."""

import pytest
import torch

from chat_model.conversation import Message, PreferencePair
from chat_model.intervals import wilson_interval
from reward_model.evaluate import accuracy_by_rating, evaluate


def make_pair(good, bad, rating="better", domain="helpfulness"):
    return PreferencePair(
        (Message("user", "q"),), (Message("assistant", good),), (Message("assistant", bad),), rating, domain
    )


class LengthScorer:
    """Scores a conversation by the length of its last message."""

    def score(self, conversations):
        return torch.tensor([float(len(messages[-1].content)) for messages in conversations])


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (500, 1000, 0.4691, 0.5309), (0, 0, 0, 1)],
)
def test_wilson_interval(successes, count, low, high):
    assert wilson_interval(successes, count) == pytest.approx((low, high), abs=1e-4)


def test_accuracy_by_rating_counts_a_tie_as_wrong_and_keeps_the_order_of_ratings():
    ratings = ["better", "significantly_better", "better", None, "better"]
    table = accuracy_by_rating([make_pair("a", "b", rating) for rating in ratings], [1.0, 2.0, -1.0, 0.5, 0.0])
    assert list(table) == ["significantly_better", "better", "unrated", "all"]
    assert [(row["accuracy"], row["count"]) for row in table.values()] == [(1, 1), (1 / 3, 3), (1, 1), (0.6, 5)]
    assert table["all"]["low"] < 0.6 < table["all"]["high"]


def test_own_domain_is_the_headline_and_both_domains_are_told():
    pairs = [make_pair("long", "s"), make_pair("s", "long"), make_pair("long", "s", domain="safety")]
    result = evaluate(pairs, LengthScorer(), domain="safety")
    assert result["accuracy"]["all"]["accuracy"] == 1
    assert {domain: table["all"]["accuracy"] for domain, table in result["by_domain"].items()} == {
        "helpfulness": 0.5,
        "safety": 1.0,
    }
    assert evaluate(pairs, LengthScorer())["accuracy"]["all"]["count"] == 3
