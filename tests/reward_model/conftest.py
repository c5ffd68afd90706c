"""What several tests of reward models count."""

import pytest


@pytest.fixture
def count_texts():
    """A function that makes a scorer note how many texts every forward pass scores, and returns those notes."""

    def count(scorer):
        notes, score_batch = [], scorer._score_batch

        def counting(groups):
            notes.append(sum(map(len, groups)))
            return score_batch(groups)

        scorer._score_batch = counting
        return notes

    return count
