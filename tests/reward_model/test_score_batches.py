"""Which conversations are computed together: those that begin alike, every one once, within the budget."""

import random

import pytest

from reward_model.pair_batch import common_prefix, row_length
from reward_model.score_batches import batch_groups, group_by_beginning


def make_texts(seed=0):
    """Forty texts: of ten prompts of 5 to 60 tokens with one to eight answers, all behind the same two tokens."""
    rng = random.Random(seed)

    def tokens(least, most):
        return [rng.randrange(100) for _ in range(rng.randint(least, most))]

    prompts = [[1, 2, *tokens(5, 60)] for _ in range(10)]
    return [rng.choice(prompts) + tokens(1, 30) for _ in range(40)]


@pytest.mark.parametrize("most_tokens", [1, 80, 10_000])
def test_every_text_is_in_one_group_whose_row_is_short_enough(most_tokens):
    texts = make_texts()
    groups = group_by_beginning(texts, most_tokens)
    assert sorted(index for group in groups for index in group) == list(range(40))
    for group in groups:
        members = [texts[index] for index in group]
        row = row_length(members, common_prefix(members))
        assert len(group) == 1 or row <= most_tokens
        assert row <= sum(map(len, members)), "a row that is longer than its texts apart"
    assert (len(groups) < 25) == (most_tokens == 10_000)


def test_answers_to_one_prompt_are_together_whatever_stands_between_them():
    owl, fox = [1, 2, *range(10, 40)], [1, 2, *range(50, 80)]
    texts = [owl + [7], fox + [7, 8], owl + [8, 9], fox + [9], owl + [9, 9, 9]]
    assert group_by_beginning(texts, 1000) == [[0, 2, 4], [1, 3]]


def test_what_every_text_begins_with_joins_none():
    """A template's first tokens: to share them saves little, and the answers would look past each other for it."""
    texts = [[1, 2, first, *range(20)] for first in (30, 40, 50)]
    assert group_by_beginning(texts, 1000) == [[0], [1], [2]]


def test_one_that_begins_like_the_group_for_half_of_its_prompt_stays_out():
    """It would cut what the group has in common, so that the group's own prompt were computed again and again."""
    prompt = list(range(40))
    texts = [prompt + [50 + number] for number in range(4)] + [[*prompt[:20], *range(60, 80)]]
    assert group_by_beginning(texts, 1000) == [[0, 1, 2, 3], [4]]


def test_batches_hold_every_group_once_within_the_budget_and_of_one_kind():
    texts = make_texts(seed=1)
    groups = group_by_beginning(texts, 120)
    batches = batch_groups(texts, groups, 120)
    assert sorted(group for batch in batches for group in batch) == sorted(groups)
    for batch in batches:
        rows = [[texts[index] for index in group] for group in batch]
        assert len(rows) == 1 or len(rows) * max(row_length(row, common_prefix(row)) for row in rows) <= 120
        assert len({len(row) > 1 for row in rows}) == 1
    assert batch_groups([], [], 120) == []


def test_little_of_a_batch_is_padding_where_lengths_differ_widely():
    """Rows within a token budget alone would be padded to the longest: a fifth of what these few hold."""
    texts = [[number] * length for number, length in enumerate(range(30, 600, 30))]
    batches = batch_groups(texts, [[index] for index in range(len(texts))], 2048)
    padded = sum(len(batch) * max(len(texts[index]) for (index,) in batch) for batch in batches)
    assert padded < 1.07 * sum(map(len, texts))
    assert sum(len(batch) == 1 for batch in batches) < len(batches) / 2
