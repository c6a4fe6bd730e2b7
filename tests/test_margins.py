"""The instrument that finds printed numbers near an edge of rounding."""

import math

import pytest

from tests.margins import Printed, edge_distance, near_edges


@pytest.mark.parametrize(
    ("value", "text", "distance"),
    [
        (3.14, "3.14", 0.005),
        (3.1441, "3.14", 0.0009),
        (3.1359, "3.14", 0.0009),
        (0.449, "0", 0.051),
        (-2.3, "-2", 0.2),
        (1.24e-8, "1.2e-08", 1e-10),
        (0.1234, "12%", 0.0016),
    ],
)
def test_the_distance_is_to_where_the_text_would_change(value, text, distance):
    assert math.isclose(edge_distance(value, text), distance, rel_tol=1e-9, abs_tol=1e-18)


@pytest.mark.parametrize(("second", "told"), [(1.23, False), (1.235, True), (1.2451, True)])
def test_a_number_is_told_where_the_spread_reaches_the_edge(second, told):
    """1.22 and 1.23 are 0.01 apart, and 0.02 from 1.25; 1.235 is 0.015 from both."""
    assert bool(near_edges([[Printed(0, 1.22, "1.2")], [Printed(0, second, "1.2")]])) == told


def test_equal_and_infinite_numbers_are_not_told():
    edge, endless = Printed(0, 0.25, "0.2"), Printed(1, math.inf, "inf")
    assert near_edges([[edge, endless]] * 3) == []


def test_runs_that_print_other_counts_are_refused():
    with pytest.raises(ValueError, match="runs of \\[1, 0\\] numbers"):
        near_edges([[Printed(0, 1.0, "1")], []])
