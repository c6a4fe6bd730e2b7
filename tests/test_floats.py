"""Floating-point formats: the limits, and where chains of factors leave them."""

from itertools import accumulate, repeat
from math import exp, inf, log, log1p, nan
from operator import mul

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lstab import FLOAT_FORMATS, describe, gaussian_lyapunov_exponents, overflow_depth, ulp, underflow_depth
from tests.truth import ROWS, truth

every_format = pytest.mark.parametrize("dtype", FLOAT_FORMATS.values(), ids=FLOAT_FORMATS.keys())


def rows(prefix: str):
    return truth(*(name for name in ROWS if name.startswith(prefix)))


def rounded(x: float, dtype: torch.dtype) -> float:
    """x in the format, by torch's own conversion."""
    return float(torch.tensor(x, dtype=torch.float64).to(dtype).double())


def next_up(x: float, dtype: torch.dtype) -> float:
    """The next larger number of the format after x ≥ 0, from its bits."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    bits = torch.tensor([x], dtype=torch.float64).to(dtype).view(whole) + 1
    return float(bits.view(dtype).double())


# The formats


@every_format
def test_the_limits_are_those_of_the_bits(dtype):
    limits = describe(dtype)
    assert limits.dtype == dtype
    assert limits.min_subnormal == next_up(0.0, dtype)
    assert limits.eps == next_up(1.0, dtype) - 1
    assert rounded(limits.max, dtype) == limits.max
    assert not next_up(limits.max, dtype) < inf  # infinity, or NaN in a format without one
    # Full precision begins at the smallest normal: below it the spacing no longer halves.
    assert next_up(limits.min_normal, dtype) - limits.min_normal == limits.min_subnormal
    assert next_up(2 * limits.min_normal, dtype) - 2 * limits.min_normal == 2 * limits.min_subnormal


def test_a_format_shows_its_limits():
    expected = "FloatFormat(dtype: torch.float16, max: 6.55e+04, min_normal: 6.104e-05, min_subnormal: 5.96e-08, eps: 0.0009766)"
    assert repr(describe(torch.float16)) == expected


# Spacing


@every_format
@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1), sign=st.sampled_from([-1, 1]))
def test_ulp_is_the_distance_to_the_next_larger_number(dtype, share, sign):
    limits = describe(dtype)
    size = share * log(limits.max / 2) + (1 - share) * log(limits.min_normal)  # numbers of every order of magnitude
    x = rounded(exp(size), dtype)
    assert ulp(sign * x, dtype) == next_up(x, dtype) - x


@every_format
def test_ulp_at_the_edges(dtype):
    limits = describe(dtype)
    assert ulp(1.0, dtype) == limits.eps
    assert ulp(0.0, dtype) == ulp(limits.min_subnormal, dtype) == ulp(limits.min_normal, dtype) == limits.min_subnormal
    assert ulp(0.99, dtype) == limits.eps / 2  # the spacing halves below a power of two
    assert ulp(limits.max, dtype) == ulp(-limits.max, dtype) < inf


# Chains of factors


@every_format
@settings(deadline=None, max_examples=60)
@given(factor=st.floats(1e-6, 0.97))
def test_underflow_depth_is_the_first_power_that_rounds_to_zero(dtype, factor):
    depth = underflow_depth(factor, dtype)
    border = log(describe(dtype).min_subnormal) - log(2)
    zero = depth * log(factor) <= border * (1 - 1e-12)
    before = (depth - 1) * log(factor) >= border * (1 + 1e-12)
    assert zero
    assert before
    if dtype != torch.float64:  # powers in float64 are exact enough to be rounded by torch
        powers = list(accumulate(repeat(factor, depth), mul))
        assert rounded(powers[-1], dtype) == 0
        assert depth == 1 or rounded(powers[-2], dtype) > 0


@every_format
@pytest.mark.parametrize("exponent", [1, 2, 3, 7])
def test_a_power_of_two_on_the_border_is_a_tie_and_rounds_to_zero(dtype, exponent):
    factor, depth = 2.0**-exponent, underflow_depth(2.0**-exponent, dtype)
    limit = describe(dtype).min_subnormal
    # Compared in powers of two, because float64's own border is beyond float64.
    assert depth * exponent >= 1 - log(limit) / log(2) - 1e-9 > (depth - 1) * exponent
    if dtype != torch.float64:
        assert rounded(factor**depth, dtype) == 0 < rounded(factor ** (depth - 1), dtype)


@every_format
def test_without_subnormals_the_smallest_normal_is_kept_and_what_is_below_is_not(dtype):
    exponent = -round(log(describe(dtype).min_normal) / log(2))
    assert underflow_depth(0.5, dtype, subnormals=False) == exponent + 1
    assert underflow_depth(0.7, dtype, subnormals=False) < underflow_depth(0.7, dtype)


@every_format
@settings(deadline=None, max_examples=60)
@given(growth=st.floats(1.001, 1e6))
def test_overflow_depth_is_where_the_power_reaches_the_largest_number(dtype, growth):
    assert overflow_depth(growth, dtype) * log(growth) == pytest.approx(log(describe(dtype).max), rel=1e-12)


def test_a_larger_format_holds_a_longer_chain():
    chains = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16, torch.float32, torch.float64]
    for depth in (lambda dtype: underflow_depth(0.9, dtype), lambda dtype: overflow_depth(1.1, dtype)):
        depths = [depth(dtype) for dtype in chains]
        assert depths == sorted(depths)


# The reference table


@rows("fp.float")
def test_truth_limits(row):
    limits = describe(FLOAT_FORMATS[row["inputs"]["format"]])
    for name in ("max", "min_normal", "min_subnormal", "eps"):
        assert getattr(limits, name) == pytest.approx(row["value"][name], rel=row["tolerance"]["rel"])


@rows("fp.sigmoid_underflow")
def test_truth_sigmoid_slopes_underflow(row):
    dtype = FLOAT_FORMATS[row["inputs"]["format"]]
    assert underflow_depth(0.25, dtype) == row["value"]["L_zero"]
    assert underflow_depth(0.25, dtype, subnormals=False) == row["value"]["L_zero_ftz"]


@rows("fp.lyap_overflow")
def test_truth_gaussian_products_overflow(row):
    growth = exp(gaussian_lyapunov_exponents(row["inputs"]["n"])[0])
    depth = overflow_depth(growth, FLOAT_FORMATS[row["inputs"]["format"]])
    assert depth == pytest.approx(row["value"]["L_star"], rel=row["tolerance"]["rel"])


@rows("fp.exp_thresholds")
def test_truth_exponentials(row):
    dtype, value, within = FLOAT_FORMATS[row["inputs"]["format"]], row["value"], row["tolerance"]["rel"]
    limits = describe(dtype)
    to_infinity = log(limits.max) + log1p(ulp(limits.max, dtype) / limits.max / 2)
    assert log(limits.max) == pytest.approx(value["log_max"], rel=within)
    assert to_infinity == pytest.approx(value["log_inf_threshold"], rel=within)
    assert log(limits.min_subnormal) - log(2) == pytest.approx(value["exp_zero_below"], rel=within)
    assert log(limits.eps / 2) == pytest.approx(value["one_plus_exp_equals_one_below"], rel=within)
    assert value["integer_counting_stalls_at"] == 2 / limits.eps


def test_truth_softmax_gap():
    row = ROWS["fp.logsoftmax_gap"]
    gap = -log(describe(torch.float32).min_subnormal / 2)
    assert gap == pytest.approx(row["value"], rel=row["tolerance"]["rel"])


# Bad input


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.bool, "float32", None])
def test_anything_but_a_format_of_the_catalogue_is_refused(dtype):
    for call in (describe, lambda dtype: underflow_depth(0.5, dtype), lambda dtype: overflow_depth(2, dtype)):
        with pytest.raises(ValueError, match="^dtype="):
            call(dtype)
    with pytest.raises(ValueError, match="^dtype="):
        ulp(1.0, dtype)


@pytest.mark.parametrize("factor", [0, 1, 1.5, -0.5, nan, inf])
def test_a_factor_that_never_underflows_is_refused(factor):
    with pytest.raises(ValueError, match=f"^factor={factor}\n"):
        underflow_depth(factor, torch.float32)


@pytest.mark.parametrize("growth", [1, 0.5, -2, nan, inf])
def test_a_growth_that_never_overflows_is_refused(growth):
    with pytest.raises(ValueError, match=f"^growth={growth}\n"):
        overflow_depth(growth, torch.float32)


@pytest.mark.parametrize("x", [1e6, -1e6, nan, inf])
def test_a_number_beyond_the_format_has_no_ulp(x):
    with pytest.raises(ValueError, match=f"^x={x} in torch.float16\n"):
        ulp(x, torch.float16)
