"""Results say what they are; claims hold or fail, and print the same line everywhere."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from d2lstab import claim
from d2lstab.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Pair(Result):
    """Two things."""

    rate: float
    path: Tensor


def test_a_result_is_shown_by_shape_not_by_content():
    pair = Pair(0.123456, torch.zeros(3, 4))
    assert repr(pair) == "Pair(rate: 0.1235, path: 3×4 float32)"
    assert re.search(r"<th [^>]*>path</th><td [^>]*>3×4 float32</td>", pair._repr_html_())
    assert pair._repr_html_().count("text-align: left") == 4  # a name and a sentence in each of two rows


def test_html_of_a_result_is_escaped():
    assert "<script>" not in Pair("<script>", torch.zeros(1))._repr_html_()


def test_a_result_without_a_picture_offers_none():
    assert not hasattr(Pair(1.0, torch.zeros(1)), "plot")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"measured": 0.55912, "expected": 0.558, "within": 0.004}, "rate: 0.559 (expected 0.558 ± 0.004)"),
        ({"measured": torch.tensor(24.2), "expected": 24.23, "within": 0.1}, "rate: 24.2 (expected 24.2 ± 0.1)"),
        ({"measured": 1e-17, "expected": 0, "within": 1e-12}, "rate: 0 (expected 0 ± 1e-12)"),
        ({"measured": 0.25, "expected": 0.25, "within": 1e-12}, "rate: 0.250000 (expected 0.250000 ± 1e-12)"),
        ({"measured": 1e-17, "expected": 0, "within": 1e-3}, "rate: 0.000 (expected 0.000 ± 0.001)"),
        ({"measured": 5.4321e-7, "expected": 5.4e-7, "within": 1e-8}, "rate: 5.4e-07 (expected 5.4e-07 ± 1e-08)"),
        ({"measured": 101, "expected": 101, "within": 0}, "rate: 101 (expected 101 exactly)"),
        ({"measured": 0.00999999999, "expected": 0.01, "within": 1e-9}, "rate: 0.0100000 (expected 0.0100000 ± 1e-09)"),
        ({"measured": 0.125, "expected": 0.125, "within": 0}, "rate: 0.125 (expected 0.125 exactly)"),
        ({"measured": [1.04, 2.0], "expected": [1, 2], "within": 0.1}, "rate: 1.0, 2.0 (expected 1.0, 2.0 ± 0.1)"),
        ({"measured": 0.123, "below": 0.5}, "rate: 0.12 (below 0.5)"),
        ({"measured": np.float64(3.0), "above": 2, "below": 4}, "rate: 3 (above 2, below 4)"),
    ],
)
def test_a_claim_prints_what_was_measured_beside_what_is_expected(arguments, line, capsys):
    claim("rate", **arguments)
    assert capsys.readouterr().out == line + "\n"


@pytest.mark.parametrize(
    "arguments",
    [
        {"measured": 0.563, "expected": 0.558, "within": 0.004},
        {"measured": float("nan"), "expected": 0.558, "within": 0.004},
        {"measured": float("nan"), "below": 1},
        {"measured": [1.0, 2.2], "expected": [1, 2], "within": 0.1},
        {"measured": [0.4, 0.6], "below": 0.5},
        {"measured": 2, "above": 2},
        {"measured": 101, "expected": 100, "within": 0},
    ],
)
def test_a_claim_that_does_not_hold_fails(arguments):
    with pytest.raises(AssertionError, match="rate"):
        claim("rate", **arguments)


@pytest.mark.parametrize("arguments", [{}, {"expected": 1}, {"within": 1}, {"expected": [1, 2, 3], "within": 1}])
def test_a_claim_must_claim_something(arguments):
    with pytest.raises(ValueError, match="expected"):
        claim("rate", [1, 2], **arguments)


@pytest.mark.parametrize("empty", [torch.zeros(0), [], torch.zeros(2, 0)])
@pytest.mark.parametrize("said", [{"above": 0}, {"expected": 1.0, "within": 0.1}])
def test_a_claim_of_nothing_is_none(empty, said):
    with pytest.raises(ValueError, match=r"of shape .*\nexpected one number or more"):
        claim("nothing", empty, **said)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [(torch.zeros(2, 3), torch.zeros(3, 2)), (torch.zeros(3), [0.0, 0.0]), ([1.0], [1.0, 2.0]), (1.0, [1.0, 2.0])],
)
def test_a_claim_compares_one_shape_with_itself(measured, expected):
    with pytest.raises(ValueError, match=r"measured has shape .*\nexpected one number, or one for each"):
        claim("shapes", measured, expected=expected, within=0.1)


def test_infinity_is_infinity_and_nan_is_nothing(capsys):
    claim("overflow", torch.tensor([float("inf"), 1.0]), expected=[float("inf"), 1.0], within=0.1)
    assert "overflow: inf, 1.0 (expected inf, 1.0 ± 0.1)" in capsys.readouterr().out
    for measured, expected in (("nan", "nan"), ("inf", "-inf"), ("inf", "1"), ("1", "inf")):
        with pytest.raises(AssertionError):
            claim("other", float(measured), expected=float(expected), within=0.1)


@pytest.mark.parametrize(
    "said", [{"expected": 1, "within": -0.1}, {"expected": 1, "within": float("nan")}, {"above": float("nan")}]
)
def test_a_tolerance_is_not_negative_and_a_bound_is_a_number(said):
    with pytest.raises(ValueError, match="\nexpected"):
        claim("bounds", 1.0, **said)


@pytest.mark.parametrize("strange", [1j, torch.tensor(1j), "1", None, [[1.0], [1.0, 2.0]], object(), {"a": 1.0}])
def test_a_claim_is_of_numbers(strange):
    with pytest.raises(TypeError, match=r"a claim of .*\nexpected a number"):
        claim("strange", strange, above=0)
