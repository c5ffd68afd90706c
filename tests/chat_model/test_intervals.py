"""Intervals hold the share they are about, whatever the rounding."""

import pytest

from chat_model.intervals import wilson_interval


@pytest.mark.parametrize("count", [1, 7, 58, 106, 1000])
def test_bounds_never_cross_the_share(count):
    for successes in (0, count // 2, count):
        low, high = wilson_interval(successes, count)
        assert 0.0 <= low <= successes / count <= high <= 1.0


def test_no_trials_say_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)
