"""Floating-point formats: the limits, and where chains of factors leave them."""

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import accumulate, repeat
from math import exp, inf, isnan, log, log1p, log10, nan, nextafter, sqrt
from operator import mul

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lstab import seeded
from d2lstab.floats import (
    FLOAT_FORMATS,
    STABLE_FORMS,
    block_round,
    describe,
    largest_loss_scale,
    lost_share,
    number_line,
    overflow_depth,
    relative_error,
    smallest_loss_scale,
    smallest_update,
    stochastic_round,
    ulp,
    underflow_depth,
)
from d2lstab.products import gaussian_lyapunov_exponents
from d2lstab.randomness import normal
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


# The number line


def test_each_chain_leaves_each_format_at_its_depth():
    line = number_line({"quarters": 0.25, "growth": 1.75})
    assert list(line.formats) == [name for name in FLOAT_FORMATS if name != "float64"]
    assert line.layers[0].tolist() == [75, 67, 13, 9, 5]
    for layer, limits in zip(line.layers[1].tolist(), line.formats.values()):
        assert 1.75 ** (layer - 1) <= limits.max < 1.75**layer
    assert "quarters: float32 75" in repr(line)


@every_format
@pytest.mark.parametrize("layers", [1, 2, 3, 7])
def test_a_chain_that_meets_the_largest_number_has_not_left_yet(dtype, layers):
    largest = describe(dtype).max
    root = float(Fraction(largest)) ** (1 / layers)
    for factor in (nextafter(root, 1), root, nextafter(root, inf)):
        if factor > 1e300:
            continue
        leaving = int(number_line({"chain": factor}, formats={"format": dtype}).layers)
        assert Fraction(factor) ** (leaving - 1) <= Fraction(largest) < Fraction(factor) ** leaving
    if dtype != torch.float64:
        assert int(number_line({"largest": largest}, formats={"format": dtype}).layers) == 2


def test_the_number_line_is_drawn_in_powers_of_ten_with_a_marker_and_a_layer_for_each_chain():
    line = number_line({"quarters": 0.25, "growth": 4.0}, formats={"half": torch.float16, "double": torch.float64})
    ax = line.plot()
    assert [text.get_text() for text in ax.texts] == ["13", "538", "8", "512"]
    assert [text.get_ha() for text in ax.texts] == ["right", "right", "left", "left"]
    assert [text.xy[0] for text in ax.texts] == pytest.approx([layer * log10(4) for layer in (-13, -538, 8, 512)])
    normal_half = ax.patches[1]
    assert normal_half.get_x() == pytest.approx(log10(describe(torch.float16).min_normal))
    assert normal_half.get_x() + normal_half.get_width() == pytest.approx(log10(65504))
    assert line.plot(ax) is ax


@pytest.mark.parametrize("factor", [0, 1, -2, nan, inf])
def test_a_chain_that_never_leaves_is_refused(factor):
    with pytest.raises(ValueError, match=f"={factor}\n"):
        number_line({"chain": factor})


# Loss scaling

gradient_sizes = st.floats(1e-12, 1e-2)


@every_format
@settings(deadline=None, max_examples=60)
@given(gradient=gradient_sizes, sign=st.sampled_from([-1, 1]))
def test_the_smallest_loss_scale_reaches_the_limit_and_half_of_it_does_not(dtype, gradient, sign):
    limits = describe(dtype)
    for full, limit in ((False, limits.min_subnormal), (True, limits.min_normal)):
        scale = smallest_loss_scale(sign * gradient, dtype, normal=full)
        assert gradient * scale >= limit
        assert scale == 1 or gradient * scale / 2 < limit


@every_format
@settings(deadline=None, max_examples=60)
@given(gradient=st.floats(1e-12, 1e12), sign=st.sampled_from([-1, 1]))
def test_the_largest_loss_scale_leaves_it_finite_and_twice_that_does_not(dtype, gradient, sign):
    scale, limits = largest_loss_scale(sign * gradient, dtype), describe(dtype)
    assert gradient * scale <= limits.max
    assert scale == 2.0**1023 or gradient * scale / limits.max > 0.5


def test_loss_scales_by_hand():
    assert smallest_loss_scale(3e-9, torch.float16) == 32
    assert smallest_loss_scale(2.0**-24, torch.float16) == 1
    assert smallest_loss_scale(2.0**-24, torch.float16, normal=True) == 2**10
    assert largest_loss_scale(1.0, torch.float16) == 2**15
    assert largest_loss_scale(65504.0, torch.float16) == 1
    assert largest_loss_scale(65505.0, torch.float16) == 0.5
    assert largest_loss_scale(1e-300, torch.float64) == 2.0**1023


# Formulas and their stable forms

HARD = {
    "log-sum-exp": [800.0, 799.0, -900.0],
    "log-softmax": [200.0, 0.0],
    "softplus": [-20.0, 0.5, 95.0],
    "log-sigmoid": [-104.0, -1.0, 12.0],
    "log(1 + x)": [1e-9, 0.3, -0.5],
    "exp(x) − 1": [1e-9, -2.0, 10.0],
    "norm": [3e30, 4e30, 1e-30],
    "variance": [10_000.0, 10_001.0, 10_003.0],
}
EXACT = {
    "log-sum-exp": lambda x: [sum(v.exp() for v in x).ln()],
    "log-softmax": lambda x: [v - sum(w.exp() for w in x).ln() for v in x],
    "softplus": lambda x: [(1 + v.exp()).ln() for v in x],
    "log-sigmoid": lambda x: [-(1 + (-v).exp()).ln() for v in x],
    "log(1 + x)": lambda x: [(1 + v).ln() for v in x],
    "exp(x) − 1": lambda x: [v.exp() - 1 for v in x],
    "norm": lambda x: [sum(v * v for v in x).sqrt()],
    "variance": lambda x: [sum(v * v for v in x) / len(x) - (sum(x) / len(x)) ** 2],
}


def in_decimals(name: str, x: torch.Tensor) -> torch.Tensor:
    with localcontext() as context:
        context.prec = 150
        values = EXACT[name]([Decimal(v) for v in x.double().tolist()])
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


@pytest.mark.parametrize("name", STABLE_FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_stable_form_of_every_pair_agrees_with_exact_arithmetic(name, dtype):
    x = torch.tensor(HARD[name], dtype=torch.float64).to(dtype)
    stable = STABLE_FORMS[name][1](x).double().flatten()
    exact = in_decimals(name, x)
    # log-softmax of the largest logit is e^-200 in exact arithmetic and 0 in a form that subtracts.
    torch.testing.assert_close(stable, exact, rtol=4 * describe(dtype).eps, atol=1e-80)


@pytest.mark.parametrize("name", STABLE_FORMS)
def test_the_naive_form_of_every_pair_is_the_same_formula_and_loses_its_digits(name):
    naive, stable = STABLE_FORMS[name]
    mild = torch.tensor([0.3, 1.2, 0.7], dtype=torch.float64)
    torch.testing.assert_close(naive(mild), stable(mild), rtol=1e-13, atol=0)
    hard = torch.tensor(HARD[name], dtype=torch.float64)
    assert relative_error(naive, hard, exact=stable).max() >= 0.5
    assert relative_error(stable, hard, exact=stable).max() < 4 * describe(torch.float32).eps


def test_every_form_of_a_pair_takes_leading_axes_and_keeps_gradients_finite():
    for name, (_, stable) in STABLE_FORMS.items():
        x = torch.tensor([HARD[name]] * 2, requires_grad=True)
        result = stable(x)
        assert result.shape in ((2,), x.shape)
        torch.testing.assert_close(result[0], stable(x[0]))
        result.sum().backward()
        assert x.grad.isfinite().all(), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_relative_error_is_measured_against_float64_after_rounding_the_input(dtype):
    x = torch.rand(1000, generator=seeded(0), dtype=torch.float64) + 1
    error = relative_error(torch.square, x, dtype)
    assert error.dtype == torch.float64
    assert 0.3 * describe(dtype).eps < error.max() <= 0.5 * describe(dtype).eps  # a product is rounded to the nearest
    assert relative_error(lambda x: x, x, dtype).max() == 0  # the rounding of the input is not counted


def test_a_relative_error_is_infinite_where_nothing_is_right():
    x = torch.tensor([1000.0, 0.0, 1.0], dtype=torch.float64)
    assert relative_error(torch.exp, x).tolist()[:2] == [0, 0]  # exp(1000) is infinite in float64, too
    lost, zero, one = relative_error(lambda x: x.exp().log(), x, exact=lambda x: x).tolist()
    assert (lost, zero) == (inf, 0)
    assert one <= describe(torch.float32).eps  # 0, or one unit in the last place: libraries differ
    assert relative_error(lambda x: x + 1, x, exact=lambda x: 0 * x)[1] == inf
    assert relative_error(lambda x: x / 0 * 0, x, exact=lambda x: x)[2] == inf


def test_formulas_of_different_shapes_are_not_compared():
    with pytest.raises(ValueError, match=r"gives shape \(1,\), the exact formula \(3,\)\nexpected one shape"):
        relative_error(lambda x: x[:1], torch.ones(3), exact=torch.exp)


# Updates


@every_format
@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1), sign=st.sampled_from([-1, 1]))
def test_below_the_smallest_update_nothing_moves_and_above_it_something_does(dtype, share, sign):
    limits = describe(dtype)
    weight = rounded(exp(share * log(limits.max / 4) + (1 - share) * log(4 * limits.min_normal)), dtype)
    update = smallest_update(sign * weight, dtype)
    assert 2 * update == next_up(weight, dtype) - weight
    if dtype != torch.float64:  # where the sum would be rounded before it is converted
        assert rounded(sign * (weight + 0.99 * update), dtype) == sign * weight
        assert rounded(sign * (weight + 1.01 * update), dtype) != sign * weight


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.float8_e4m3fn])
def test_updates_are_lost_in_formats_that_no_machine_adds_in(dtype):
    update = smallest_update(1.0, dtype)
    weights, updates = torch.ones(4).to(dtype), torch.tensor([update / 2, update, 1.5 * update, 0.0]).to(dtype)
    assert lost_share(weights, updates) == pytest.approx(2 / 3)  # at a tie 1 is the even neighbour


def test_the_share_of_lost_updates_by_hand():
    weights = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
    updates = torch.tensor([2.0**-25, 2.0**-23, -(2.0**-24), 0.0, 1e-30])
    assert lost_share(weights, updates) == 1 / 4  # the fourth was not meant to move
    assert lost_share(weights.bfloat16(), updates) == 3 / 4
    assert lost_share(weights, torch.zeros(5)) != lost_share(weights, torch.zeros(5))  # NaN


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_the_share_of_updates_lost_to_a_weight_that_is_not_finite_is_unknown(value):
    good, bad = torch.ones(2), torch.tensor([1.0, value])
    assert isnan(lost_share(good, bad))
    assert isnan(lost_share(bad, good))


@every_format
def test_stochastic_rounding_gives_neighbours_and_keeps_the_mean(dtype):
    limits = describe(dtype)
    for x in (1 + 0.3 * limits.eps, -1 - 0.3 * limits.eps, 3 + 0.4 * limits.eps, 0.3 * limits.min_subnormal):
        if dtype == torch.float64:
            continue  # nothing lies between its numbers
        drawn = stochastic_round(torch.full((40_000,), x, dtype=torch.float64), dtype, generator=seeded(0)).double()
        gap = ulp(x, dtype)
        assert set(((drawn - x) / gap).abs().lt(1).tolist()) == {True}
        assert len(drawn.unique()) == 2
        assert float((drawn - x).mean()) / gap == pytest.approx(0, abs=4 * 0.5 / sqrt(40_000))


@every_format
def test_stochastic_rounding_leaves_numbers_of_the_format_as_they_are(dtype):
    limits = describe(dtype)
    x = [0.0, 1.0, -1.5, limits.max, -limits.max, limits.min_normal, limits.min_subnormal, 3 * limits.min_subnormal]
    x = torch.tensor(x, dtype=torch.float64)
    assert torch.equal(stochastic_round(x, dtype, generator=seeded(0)).double(), x)


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


@rows("fp.lyap_firstpassage")
def test_truth_the_factor_at_which_a_product_overflows(row):
    product, factors = torch.eye(4).expand(4000, 4, 4), torch.ones(4000)
    for factor in normal(240, 4000, 4, 4, generator=seeded(0)):
        product = factor @ product
        factors += product.isfinite().flatten(1).all(1)
    value, z = row["value"], row["tolerance"]["z"]
    error = sqrt(value["sd"] ** 2 / 4000 + row["stderr"]["mean"] ** 2)
    assert float(factors.mean()) == pytest.approx(value["mean"], abs=z * error)
    assert float(factors.std()) == pytest.approx(value["sd"], rel=z / sqrt(2 * 4000))
    for name, share in (("q05", 0.05), ("median", 0.5), ("q95", 0.95)):
        assert float(factors.quantile(share)) == pytest.approx(value[name], abs=row["tolerance"]["quantile_abs"])


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


@pytest.mark.parametrize("gradient", [0, nan, inf, -inf])
@pytest.mark.parametrize("scale", [smallest_loss_scale, largest_loss_scale])
def test_a_gradient_that_no_scale_moves_is_refused(scale, gradient):
    with pytest.raises(ValueError, match=f"^gradient={gradient}\n"):
        scale(gradient, torch.float16)


@pytest.mark.parametrize("x", [1.0, [1.0], torch.tensor([1]), None])
def test_a_relative_error_needs_floats(x):
    with pytest.raises(TypeError, match="^x of type "):
        relative_error(torch.exp, x)


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.float8_e4m3fn])
def test_an_operation_that_a_device_does_not_have_is_named(dtype):
    with pytest.raises(ValueError, match=f"^log1p in {dtype} on cpu: .*\nexpected a dtype .* emulate"):
        relative_error(torch.log1p, torch.tensor([0.5]), dtype)
    with pytest.raises(ValueError, match="^dtype=torch.int32\n"):
        relative_error(torch.log1p, torch.tensor([0.5]), torch.int32)


def test_updates_have_the_shape_of_their_weights():
    with pytest.raises(ValueError, match=r"^weights of shape \(2,\), updates of shape \(3,\)\n"):
        lost_share(torch.ones(2), torch.ones(3))


@pytest.mark.parametrize("x", [torch.tensor([1e6]), torch.tensor([nan]), torch.tensor([1.0]).half(), torch.tensor([1])])
def test_what_cannot_be_rounded_by_chance_is_refused(x):
    with pytest.raises(ValueError, match="^x of torch"):
        stochastic_round(x, torch.float16, generator=seeded(0))


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.float8_e4m3fn, torch.float16])
def test_a_block_is_rounded_alike_at_any_size(dtype):
    x = normal(4, 40, generator=seeded(0))
    error = ((block_round(x, dtype) - x).abs() / x.abs().amax()).max()
    assert 0 < error <= describe(dtype).eps / 2
    for exponent in (-100, 60):
        assert torch.equal(block_round(x * 2.0**exponent, dtype), block_round(x, dtype) * 2.0**exponent)


def test_a_block_does_not_feel_what_is_large_in_another():
    x = torch.tensor([1e-6, 2e-6, 1e6, 3.0])
    apart, together = (block_round(x, torch.float8_e4m3fn, block=block) for block in (2, 4))
    assert torch.equal(together[:2], torch.zeros(2))
    torch.testing.assert_close(apart[:2], x[:2], rtol=2**-4, atol=0)
    assert apart.isfinite().all()


def test_a_shorter_last_block_one_of_zeros_and_a_gradient_keep_shape_and_dtype():
    x = torch.cat([torch.zeros(2, 32), torch.full((2, 1), 448.0)], 1).bfloat16()
    assert torch.equal(block_round(x, torch.float8_e4m3fn), x)
    assert block_round(x, torch.float8_e4m3fn).dtype == torch.bfloat16


@pytest.mark.parametrize("x", [torch.tensor(1.0), torch.tensor([inf]), torch.tensor([nan, 1.0])])
def test_a_block_needs_an_axis_and_finite_entries(x):
    with pytest.raises(ValueError, match="expected a finite tensor"):
        block_round(x, torch.float8_e5m2)
