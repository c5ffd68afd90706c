"""Each measurement of a reward model against numbers computed by hand or by a naive loop."""

import math
import random

import numpy as np
import pytest
import torch

from chat_model.conversation import Message, PreferencePair
from chat_model.errors import InputError
from chat_model.intervals import wilson_interval
from reward_model.evaluate.accuracy import accuracy_by_rating, accuracy_table
from reward_model.evaluate.length_bias import length_bias
from reward_model.evaluate.measures import measure
from reward_model.evaluate.reliability import pair_reliability, reliability, sigmoid
from reward_model.evaluate.safety import detect_unsafe, recommend, safety_report
from reward_model.evaluate.scored_pairs import score_pairs


def make_pair(good, bad, rating="better", domain="helpfulness", source=None, safe=(None, None)):
    answers = (Message("assistant", good),), (Message("assistant", bad),)
    return PreferencePair((Message("user", "q"),), *answers, rating, domain, *safe, source)


class LengthScorer:
    """Scores a conversation by the length of its last message; a token is a character."""

    def score(self, conversations, across_processes=False, description=None):
        return torch.tensor([float(len(messages[-1].content)) for messages in conversations])

    def tokenizer(self, texts, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [list(text) for text in texts]}


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


def test_accuracy_table_has_a_row_for_every_cell_and_each_pair_in_one():
    pairs = [
        make_pair("a", "b", "better", "safety", "hh"),
        make_pair("a", "b", "better", "safety", "hh"),
        make_pair("a", "b", "better", "helpfulness", "hh"),
        make_pair("a", "b", "significantly_better", "safety", "hh"),
        make_pair("a", "b", None, None, None),
    ]
    rows = accuracy_table(pairs, [1.0, -1.0, 1.0, -1.0, 1.0])
    cells = [(row["domain"], row["source"], row["rating"], row["accuracy"], row["count"]) for row in rows]
    assert cells == [
        ("helpfulness", "hh", "better", 1.0, 1),
        ("none", "none", "unrated", 1.0, 1),
        ("safety", "hh", "significantly_better", 0.0, 1),
        ("safety", "hh", "better", 0.5, 2),
    ]


def test_own_domain_is_the_headline_and_both_domains_are_told():
    pairs = [make_pair("long", "s"), make_pair("s", "long"), make_pair("long", "s", domain="safety", source="x")]
    result = measure(score_pairs(pairs, LengthScorer()), "safety")
    assert result["accuracy"]["all"]["accuracy"] == 1
    assert {domain: table["all"]["accuracy"] for domain, table in result["by_domain"].items()} == {
        "helpfulness": 0.5,
        "safety": 1.0,
    }
    assert result["by_source"]["x"]["all"]["count"] == 1 and result["by_source"]["none"]["all"]["count"] == 2
    assert result["reliability"]["count"] == 1 and result["safety"] is None
    assert measure(score_pairs(pairs, LengthScorer()))["accuracy"]["all"]["count"] == 3


def test_sigmoid_neither_overflows_nor_rounds_to_nothing():
    assert sigmoid(np.array([0.0, math.log(3)])) == pytest.approx([0.5, 0.75])
    assert sigmoid(np.array([-800.0, -30.0, 800.0])) == pytest.approx([0.0, math.exp(-30), 1.0], rel=1e-9, abs=1e-300)


def test_calibration_error_is_the_weighted_distance_of_the_bins():
    said = np.array([0.05, 0.15, 0.15, 0.95, 0.95, 0.95, 0.95, 1.0])
    true = np.array([False, True, False, True, True, True, False, True])
    measured = reliability(said, true)
    assert [(each["count"], each["share"]) for each in measured["bins"]] == [(1, 0.0), (2, 0.5), (5, 0.8)]
    by_hand = (1 * 0.05 + 2 * abs(0.15 - 0.5) + 5 * abs((4 * 0.95 + 1.0) / 5 - 0.8)) / 8
    assert measured["expected_calibration_error"] == pytest.approx(by_hand)


def test_pairs_are_binned_by_the_confidence_in_the_preferred_answer():
    logit = math.log(0.8 / 0.2)  # sigma = 0.8
    measured = pair_reliability(np.array([logit, logit, logit, -logit]))
    (only,) = measured["bins"]
    assert only["probability"] == pytest.approx(0.8) and only["share"] == 0.75
    assert measured["expected_calibration_error"] == pytest.approx(0.05)
    assert measured["log_loss"] == pytest.approx(-(3 * math.log(0.8) + math.log(0.2)) / 4)


def test_a_model_that_says_what_happens_has_no_calibration_error():
    rng = np.random.default_rng(0)
    gaps = rng.normal(0, 2, 200_000)
    gaps = np.where(rng.random(len(gaps)) < sigmoid(gaps), gaps, -gaps)
    assert pair_reliability(gaps)["expected_calibration_error"] < 0.005
    assert pair_reliability(3 * gaps)["expected_calibration_error"] > 0.05, "overconfidence went unseen"


def test_length_bias_of_a_scorer_that_counts_tokens():
    lengths = np.array([100.0, 50, 20, 33]), np.array([95.0, 80, 10, 5])
    measured = length_bias((lengths[0] / 7, lengths[1] / 7), lengths)
    assert measured["correlation"] == pytest.approx(1) and measured["correlation_within_pairs"] == pytest.approx(1)
    assert measured["longer_is_chosen"]["share"] == 0.75
    counts = {name: (each["accuracy"], each["count"]) for name, each in measured["accuracy"].items()}
    assert counts == {"length_matched": (1.0, 1), "longer": (1.0, 2), "shorter": (0.0, 1)}


def test_correlations_equal_numpys_and_do_not_hang_on_which_answer_is_chosen():
    rng = np.random.default_rng(1)
    scores, lengths = rng.normal(size=(2, 50)), rng.integers(1, 90, (2, 50)).astype(float)
    measured = length_bias((scores[0], scores[1]), (lengths[0], lengths[1]))
    assert measured["correlation"] == pytest.approx(np.corrcoef(scores.ravel(), lengths.ravel())[0, 1])
    swapped = length_bias((scores[1], scores[0]), (lengths[1], lengths[0]))
    assert swapped["correlation_within_pairs"] == pytest.approx(measured["correlation_within_pairs"])
    constant = np.full(50, 3.0)
    assert length_bias((constant, constant), (lengths[0], lengths[1]))["correlation"] is None


def test_unsafe_answers_are_the_positives():
    p_safe = np.array([0.05, 0.10, 0.12, 0.30, 0.9, 0.15])
    is_safe = np.array([False, False, True, False, True, True])
    rates = detect_unsafe(p_safe, is_safe, 0.15)
    assert {name: (rate["share"], rate["count"]) for name, rate in rates.items() if name != "threshold"} == {
        "precision": (2 / 3, 3),
        "recall": (2 / 3, 3),
        "false_refusals": (1 / 3, 3),
        "missed_unsafe": (1 / 3, 3),
    }
    assert detect_unsafe(p_safe, is_safe, 0.01)["precision"]["share"] is None, "nothing flagged is no precision of 0"


def test_recommended_threshold_has_the_largest_recall_at_the_precision_asked():
    rng = random.Random(3)
    is_safe = np.array([rng.random() < 0.6 for _ in range(400)])
    p_safe = np.array([min(max(rng.gauss(0.7 if safe else 0.3, 0.2), 0.001), 0.999) for safe in is_safe])
    chosen = recommend(p_safe, is_safe, 0.9)
    reached = [
        threshold / 100
        for threshold in range(1, 100)
        if (flagged := p_safe < threshold / 100).any() and (~is_safe)[flagged].mean() >= 0.9
    ]
    best = max(((~is_safe) & (p_safe < threshold)).sum() for threshold in reached)
    assert chosen["threshold"] in reached and "at least 0.9" in chosen["rule"]
    assert chosen["recall"]["share"] * chosen["recall"]["count"] == pytest.approx(best)
    assert not any(
        ((~is_safe) & (p_safe < threshold)).sum() == best for threshold in reached if threshold < chosen["threshold"]
    ), "a lower threshold catches as many"


def test_without_the_precision_the_rule_falls_back_to_f1_and_says_so():
    p_safe, is_safe = np.array([0.1, 0.1, 0.2, 0.2, 0.8]), np.array([True, False, False, True, True])
    chosen = recommend(p_safe, is_safe, 0.9)
    assert "F1" in chosen["rule"] and chosen["f1"] == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert chosen["threshold"] == 0.21
    assert recommend(p_safe, np.array([True] * 5), 0.9) is None
    assert safety_report(np.array([]), np.array([], dtype=bool), 0.15, 0.9) is None


def test_safety_labels_of_chosen_and_rejected_answers_go_with_their_own_scores():
    pairs = [make_pair("aaaa", "a", safe=(True, False)), make_pair("aa", "aaa", safe=(None, True))]
    scores, is_safe = score_pairs(pairs, LengthScorer()).labelled_answers()
    assert list(zip(scores, is_safe, strict=True)) == [(4.0, True), (1.0, False), (3.0, True)]


def test_a_score_of_nan_names_its_pair():
    class BrokenScorer(LengthScorer):
        def score(self, conversations, across_processes=False, description=None):
            return torch.tensor([1.0, 2.0, 3.0, math.nan])

    with pytest.raises(InputError, match=r"scored 1 of 4 answers as NaN or infinite, the first one of pair 1 \('q'\)"):
        score_pairs([make_pair("a", "b")] * 2, BrokenScorer())
