"""What the table of `make bench` says of a ratio."""

from math import log
from random import Random

import pytest

from benchmarks.ratios import middle


@pytest.mark.parametrize("count", [6, 7, 15, 30, 101])
def test_the_median_of_endless_repeats_lies_where_it_is_said_to(count):
    random, runs = Random(0), 2000
    rows = [middle([random.expovariate(1.0) for _ in range(count)]) for _ in range(runs)]
    within = sum(least < log(2) < most for _, least, most in rows) / runs
    assert within > 0.94  # 0.95 is promised; 2000 runs know it to ± 0.01
    assert within < 0.99  # and it is no wider than it must be


def test_few_repeats_tell_no_more_than_their_extremes():
    assert middle([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert middle([1.0]) == (1.0, 1.0, 1.0)


def test_many_repeats_are_enough_for_a_narrow_interval():
    median, least, most = middle(range(2000))
    assert (median, 1999 - most) == (999.5, least) and least > 950
