"""Infinite-width theory against closed forms, the reference table, and its own definition by brute force."""

from functools import partial
from math import exp, inf, log, pi, sqrt

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from d2lstab import ACTIVATIONS, chi, depth_sweep, gaussian_mean, lecun_normal_, q_star
from d2lstab.mean_field import (
    backward_gain,
    batchnorm_gradient_factor,
    c_star,
    correlation_map,
    critical_sigma_w,
    depth_scales,
    forward_gain,
    phase_diagram,
    quadrature,
    trajectory,
    variance_map,
)
from tests.truth import NAMED, ROWS, truth

pytestmark = pytest.mark.slow

KINKED = {
    "hard swish": F.hardswish,
    "ReLU6": F.relu6,
    "soft shrink": F.softshrink,
    "two kinks off the grid": lambda z: (z - 0.37).relu() - 0.5 * (z + 1.913).abs(),
    "bend": lambda z: torch.where(z.abs() < 1.3, z.square() / 2, 1.3 * (z.abs() - 0.65)),
    "steep": lambda z: torch.tanh(20 * (z - 0.4)),
}


def identity(z: torch.Tensor) -> torch.Tensor:
    return z


def rows(prefix: str):
    return truth(*[name for name in ROWS if name.startswith(prefix)])


def brute(g, variance: float = 1.0) -> float:
    """E g by 400,000 midpoints over ±10 standard deviations."""
    z = torch.linspace(-10, 10, 400_001, dtype=torch.float64)
    return float((g(z * sqrt(variance)) * torch.softmax(-z.square() / 2, 0)).sum())


@rows("act.gain")
def test_gains_of_the_reference_table(row):
    f, value = NAMED[row["inputs"]["activation"]], row["value"]
    assert forward_gain(f) == pytest.approx(value["forward"], rel=1e-12)
    assert backward_gain(f) == pytest.approx(value["backward"], rel=1e-12)
    factor = chi(f, 1.0, forward_gain(f))
    assert factor == pytest.approx(value["grad_sq_factor_at_forward_gain"], rel=1e-12)


@rows("act.torchgain")
def test_what_torchs_gains_do_in_a_layer_of_the_reference_table(row):
    name, value = row["id"].removeprefix("act.torchgain."), row["value"]
    f, gain = NAMED[name], value["torch_gain"]
    assert variance_map(f, 1.0, gain) == pytest.approx(value["forward_mult"], rel=1e-12)
    assert chi(f, 1.0, gain) == pytest.approx(value["backward_mult"], rel=1e-12)
    assert gain / forward_gain(f) == pytest.approx(value["gain_over_exact_forward"], rel=1e-12)


@rows("act.moments")
def test_moments_of_the_reference_table(row):
    f, value = NAMED[row["inputs"]["activation"]], row["value"]
    assert gaussian_mean(f) == pytest.approx(value["Ef"], abs=1e-12)
    assert variance_map(f, 1.0, 1.0) == pytest.approx(value["Ef2"], abs=1e-12)
    assert chi(f, 1.0, 1.0) == pytest.approx(value["Edf2"], abs=1e-12)


@truth(*[name for name, row in ROWS.items() if name.startswith("mft.") and "c_star" in row["value"]])
def test_fixed_points_and_depth_scales_of_the_reference_table(row):
    given, value = row["inputs"], row["value"]
    f, scales = NAMED[given["activation"]], (given["sigma_w"], given["sigma_b"])
    assert q_star(f, *scales) == pytest.approx(value["q_star"], rel=1e-9)
    assert chi(f, value["q_star"], given["sigma_w"]) == pytest.approx(value["chi1"], rel=1e-9)
    assert c_star(f, *scales) == pytest.approx(value["c_star"], abs=1e-9)
    # A slope near 1 makes its scale steep: the table's own ten digits allow this much.
    assert depth_scales(f, *scales).variance == pytest.approx(value["xi_q"], rel=1e-7)
    assert depth_scales(f, *scales).correlation == pytest.approx(value["xi_c"], rel=1e-7)


@truth(*[name for name in ROWS if name.startswith("crit.") and ".sb" in name])
def test_the_edge_of_chaos_of_the_reference_table(row):
    f, value, sigma_b = NAMED[row["id"].split(".")[1]], row["value"], row["inputs"]["sigma_b"]
    sigma_w = critical_sigma_w(f, sigma_b)
    assert sigma_w == pytest.approx(value["sigma_w"], rel=1e-9)
    assert q_star(f, sigma_w, sigma_b) == pytest.approx(value["q_star"], rel=1e-7, abs=1e-9)


@truth("crit.halfstable.gelu")
def test_the_half_stable_point_of_gelu(row):
    value = row["value"]
    sigma_w = sqrt(value["C_W"])
    assert chi(F.gelu, value["K_star"], sigma_w) == pytest.approx(1, rel=1e-9)
    assert variance_map(F.gelu, value["K_star"], sigma_w, sqrt(value["C_b"])) == pytest.approx(
        value["K_star"], rel=1e-9
    )


def test_the_critical_sigma_w_of_erf_without_biases_is_half_the_root_of_pi():
    assert critical_sigma_w(torch.erf) == pytest.approx(sqrt(pi) / 2, rel=1e-9)


@truth("mft.tanh.critical_decay", "mft.gelu.he_drift")
def test_second_moments_layer_by_layer_of_the_reference_table(row):
    f = torch.tanh if "tanh" in row["id"] else F.gelu
    sigma_w, value = row["inputs"].get("sigma_w", 1.0), row["value"]
    q = 1.0
    for layer in range(1, 51):
        q = variance_map(f, q, sigma_w)
        for key in (str(layer), f"q{layer}"):
            if key in value:
                assert q == pytest.approx(value[key], rel=1e-9)
    # The trajectory speaks of activations: h after layer l + 1 has E f(√q_l z)².
    path = trajectory(f, sigma_w=sigma_w, depth=50, second_moment=1 / sigma_w**2).forward.exp() * sigma_w**2
    assert float(path[50]) == pytest.approx(q, rel=1e-9)


@truth("mft.relu.corr.c00.0")
def test_the_correlation_of_relu_layers_is_cho_and_sauls_kernel(row):
    c = 0.0
    for layer in range(1, 51):
        c = correlation_map(torch.relu, c, 1.0, sqrt(2))
        if str(layer) in row["value"]:
            assert c == pytest.approx(row["value"][str(layer)], abs=1e-12)


@pytest.mark.parametrize("c", [-1.0, -0.5, 0.0, 0.3, 0.999999, 1.0])
def test_the_correlation_of_erf_layers_is_williams_formula(c):
    expected = torch.asin(torch.tensor(2 * c / 3, dtype=torch.float64)) / torch.asin(
        torch.tensor(2 / 3, dtype=torch.float64)
    )
    assert correlation_map(torch.erf, c, 1.0, 1.0) == pytest.approx(float(expected), abs=1e-12)


@rows("bn.sim")
def test_batch_normalized_networks_grow_as_predicted(row):
    f = torch.relu if row["inputs"]["act"] == "relu" else identity
    predicted = batchnorm_gradient_factor(f, row["inputs"]["B"])
    assert predicted == pytest.approx(row["value"], rel=row["tolerance"]["rel"])


@truth(*[name for name in ROWS if name.startswith("bn.") and not name.startswith("bn.sim")])
def test_batch_normalization_factors_of_the_reference_table(row):
    f = torch.relu if "relu" in row["id"] else identity
    batch = None if row["inputs"]["B"] == "inf" else row["inputs"]["B"]
    assert batchnorm_gradient_factor(f, batch) == pytest.approx(row["value"]["grad_sq_factor"], rel=1e-12)


def test_a_large_batch_approaches_the_infinite_one():
    assert batchnorm_gradient_factor(torch.relu) == pytest.approx(pi / (pi - 1), rel=1e-12)
    assert batchnorm_gradient_factor(torch.relu, 10**6) == pytest.approx(pi / (pi - 1), rel=1e-5)


@pytest.mark.parametrize("f", (NAMED | KINKED).values(), ids=(NAMED | KINKED).keys())
@pytest.mark.parametrize("q", [0.01, 1.0, 37.0])
def test_every_activation_smooth_or_kinked_agrees_with_brute_force(f, q):
    assert gaussian_mean(f, q) == pytest.approx(brute(f, q), rel=1e-5, abs=1e-9)
    assert variance_map(f, q, 1.0) == pytest.approx(brute(lambda z: f(z).square(), q), rel=1e-5)


@pytest.mark.parametrize("steepness", [30, 300, 1000])
@pytest.mark.parametrize("q", [0.1, 1.0, 30.0])
def test_a_steep_spot_is_seen_wherever_it_lies(steepness, q):
    def f(z):
        return torch.tanh(steepness * (z - 0.4))

    assert variance_map(f, q, 1.0) == pytest.approx(brute(lambda z: f(z).square(), q), rel=1e-9)
    expected = brute(lambda z: (steepness * (1 - f(z).square())).square(), q)
    assert chi(f, q, 1.0) == pytest.approx(expected, rel=1e-9)


def test_every_step_of_a_staircase_counts():
    edges = torch.arange(0.5, 20, dtype=torch.float64)
    tails = torch.special.erfc(edges / sqrt(2))  # P(|z| > edge); the square of the k-th step adds 2k - 1
    expected = float((tails * (2 * torch.arange(1, 21) - 1)).sum())
    assert variance_map(torch.round, 1.0, 1.0) == pytest.approx(expected, rel=1e-9)


def test_a_jump_counts_exactly():
    assert gaussian_mean(lambda z: (z > 0.7).double()) == pytest.approx(
        0.5 - 0.5 * torch.erf(torch.tensor(0.7) / sqrt(2)).item(), abs=1e-7
    )


@settings(max_examples=20, deadline=None)
@example(a=0.0, b=1.6e-160, variance=1.0)  # its square is subnormal: known to its spacing, not to a share
@given(a=st.floats(-2, 2), b=st.floats(-2, 2), variance=st.floats(1e-3, 1e3))
def test_gaussian_moments_of_a_line(a, b, variance):
    assert gaussian_mean(lambda z: a + b * z, variance) == pytest.approx(a, abs=1e-9)
    assert variance_map(lambda z: a + b * z, variance, 1.0) == pytest.approx(
        a**2 + b**2 * variance, rel=1e-9, abs=1e-12
    )


@settings(max_examples=8, deadline=None)
@given(sigma_w=st.floats(0.2, 4), sigma_b=st.floats(0.05, 2))
def test_a_fixed_point_is_one_and_the_phases_meet_at_chi_1(sigma_w, sigma_b):
    q = q_star(torch.tanh, sigma_w, sigma_b)
    assert variance_map(torch.tanh, q, sigma_w, sigma_b) == pytest.approx(q, rel=1e-9)
    assert (sigma_w < critical_sigma_w(torch.tanh, sigma_b)) == (chi(torch.tanh, q, sigma_w) < 1)


def test_a_correlation_settles_where_the_map_keeps_it():
    c = c_star(torch.tanh, 2.5, 0.3)
    q = q_star(torch.tanh, 2.5, 0.3)
    assert 0 < c < 1
    assert correlation_map(torch.tanh, c, q, 2.5, 0.3) == pytest.approx(c, abs=1e-10)


@pytest.mark.parametrize("f", [torch.tanh, torch.erf])
def test_depth_scales_diverge_alike_on_both_sides_of_the_edge(f):
    edge = critical_sigma_w(f, 0.3)
    order, chaos = (depth_scales(f, edge * (1 + step), 0.3).correlation for step in (-1e-4, 1e-4))
    assert order == pytest.approx(chaos, rel=1e-2)
    assert order > 1e3


def test_lengths_that_vanish_that_stay_and_that_have_no_end():
    assert q_star(torch.tanh, 0.9) == 0
    assert q_star(torch.tanh, 1.0) == 0  # algebraically slowly, but it does
    assert q_star(torch.relu, 1.2) == 0
    assert q_star(torch.relu, sqrt(2)) == 1  # every length is a fixed point; the path starts at 1
    for scales in ((1.5,), (2.0,), (sqrt(2), 0.1)):
        with pytest.raises(ValueError, match="grows without bound"):
            q_star(torch.relu, *scales)


def test_the_edge_of_chaos_has_no_depth_scale_and_relu_with_biases_no_edge():
    assert depth_scales(torch.relu, sqrt(2)).correlation == inf
    assert critical_sigma_w(torch.relu) == pytest.approx(sqrt(2), rel=1e-12)
    with pytest.raises(ValueError, match="sigma_b=0.1: no sigma_w"):
        critical_sigma_w(torch.relu, 0.1)


@pytest.mark.parametrize("name", ["tanh", "GELU", "SELU", "sigmoid", "hard tanh"])
def test_wide_networks_follow_the_trajectory(name):
    f = ACTIVATIONS[name]
    predicted = trajectory(f, sigma_w=1.3, depth=10)
    measured = depth_sweep(partial(lecun_normal_, gain=1.3), f, depth=10, width=1024, batch=32, seeds=range(4))
    # Ten layers of width n: the log has a spread of about √(5 · 10 / n) = 0.22 over √(4 seeds), correlated inputs.
    assert (measured.forward.mean(0) - predicted.forward).abs().max() < 0.25
    assert (measured.backward.mean(0) - predicted.backward).abs().max() < 0.25


def test_a_trajectory_neither_overflows_nor_vanishes_at_any_depth():
    path = trajectory(torch.relu, sigma_w=8.0, depth=240)  # (8² / 2)^240 = 2^1200 is more than a float64 holds
    assert float(path.forward[-1]) == pytest.approx(1200 * log(2), rel=1e-9)
    assert float(path.backward[0]) == pytest.approx(1200 * log(2), rel=1e-9)
    faint = trajectory(torch.tanh, sigma_w=1 / 32, depth=240).forward[-1]
    assert float(faint) == pytest.approx(-2400 * log(2), rel=1e-3)


def test_the_phase_diagram_is_the_fixed_points_point_by_point():
    diagram = phase_diagram(torch.tanh, sigma_w=[0.5, 1.0, 2.5], sigma_b=[0.0, 0.1, 1.0])
    assert diagram.q_star.shape == diagram.chi.shape == (3, 3)
    for row, sigma_b in enumerate([0.0, 0.1, 1.0]):
        for column, sigma_w in enumerate([0.5, 1.0, 2.5]):
            q = q_star(torch.tanh, sigma_w, sigma_b)
            assert float(diagram.q_star[row, column]) == pytest.approx(q, rel=1e-7, abs=1e-12)
            assert float(diagram.chi[row, column]) == pytest.approx(chi(torch.tanh, q, sigma_w), rel=1e-7)
    assert float(diagram.gradient_depth[1, 1]) == pytest.approx(1 / abs(log(float(diagram.chi[1, 1]))))
    assert diagram.plot().get_xlabel() == "σ_w"


def test_a_phase_diagram_of_one_point_has_no_edge_and_can_be_drawn():
    ax = phase_diagram(torch.tanh, sigma_w=[1.0], sigma_b=[0.5]).plot()
    assert len(ax.collections) == 1  # the colours
    plt.close("all")


def test_the_phase_diagram_says_where_nothing_settles():
    diagram = phase_diagram(torch.relu, sigma_w=[1.0, 1.4, 1.5], sigma_b=[0.0, 0.5])
    assert diagram.q_star.isinf().tolist() == [[False, False, True]] * 2
    assert diagram.chi.isnan().tolist() == [[False, False, True]] * 2
    assert float(diagram.q_star[1, 0]) == pytest.approx(0.5, rel=1e-9)  # σ_b² / (1 − σ_w² / 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian_mean(torch.tanh, -1.0),
        lambda: variance_map(torch.tanh, 1.0, -0.1),
        lambda: q_star(torch.tanh, 1.0, float("nan")),
        lambda: critical_sigma_w(torch.tanh, -0.1),
        lambda: correlation_map(torch.tanh, 1.5, 1.0, 1.0),
        lambda: correlation_map(torch.tanh, 0.5, 0.0, 1.0),
        lambda: trajectory(torch.tanh, sigma_w=1.0, depth=0),
        lambda: trajectory(torch.tanh, sigma_w=0.0),
        lambda: phase_diagram(torch.tanh, sigma_w=[-1.0]),
        lambda: phase_diagram(torch.tanh, sigma_b=torch.zeros(2, 2)),
        lambda: batchnorm_gradient_factor(torch.relu, 3),
        lambda: batchnorm_gradient_factor(torch.tanh, 32),
        lambda: c_star(torch.tanh, 0.5),
        lambda: forward_gain(lambda z: 0 * z),
        lambda: gaussian_mean(torch.log),
        lambda: gaussian_mean(partial(torch.softmax, dim=-1)),
    ],
)
def test_bad_input_is_told_what_is_expected(call):
    with pytest.raises(ValueError, match="\nexpected"):
        call()


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="activation='tanh'"):
        gaussian_mean("tanh")


# How wrong a number may be


def wave(frequency: float):
    return lambda z: torch.sin(frequency * z)


@pytest.mark.parametrize("q", [1e-4, 1.0, 30.0])
@pytest.mark.parametrize("frequency", [1, 3, 30])
def test_waves_have_their_moments_in_closed_form(frequency, q):
    fading = exp(-2 * frequency**2 * q)  # E cos 2kz
    assert variance_map(wave(frequency), q, 1.0) == pytest.approx((1 - fading) / 2, rel=1e-8)
    assert chi(wave(frequency), q, 1.0) == pytest.approx(frequency**2 * (1 + fading) / 2, rel=1e-8)
    assert gaussian_mean(lambda z: torch.cos(frequency * z), q) == pytest.approx(exp(-(frequency**2) * q / 2), abs=1e-8)


@pytest.mark.parametrize("c", [-1.0, -0.3, 0.0, 0.9, 1.0])
def test_correlations_of_waves_have_a_closed_form(c):
    def covariance(c):
        return (exp(-9 * 0.5 * (1 - c)) - exp(-9 * 0.5 * (1 + c))) / 2

    measured = correlation_map(wave(3), c, 0.5, 1.0)
    assert measured == pytest.approx(covariance(c) / covariance(1.0), abs=1e-8)


FAST = {
    "moments": lambda: variance_map(wave(300), 1e4, 1.0),
    "slopes": lambda: chi(wave(300), 1e4, 1.0),
    "a mean": lambda: gaussian_mean(lambda z: torch.sin(300 * z).square(), 1e4),
    "a correlation": lambda: correlation_map(wave(3), 0.5, 1e4, 1.0),
    "the same input": lambda: correlation_map(wave(300), 1.0, 1e4, 1.0),
    "a fixed point": lambda: q_star(wave(3e4), 100.0),
    "a phase diagram": lambda: phase_diagram(wave(3e4), sigma_w=[100.0], sigma_b=[0.0]),
    "an edge": lambda: critical_sigma_w(wave(3e4), 1.0),
    "a trajectory": lambda: trajectory(wave(3e4), sigma_w=1.0, depth=3),
    "a jump far away": lambda: variance_map(lambda z: (z > 100.3).double(), 1e4, 1.0),
}


@pytest.mark.parametrize("call", FAST.values(), ids=FAST.keys())
def test_a_number_that_is_not_known_is_refused(call):
    with pytest.raises(ValueError, match=r"varies too fast at inputs of variance .*\nexpected"):
        call()


def test_what_is_not_known_far_away_does_not_matter_near():
    assert q_star(wave(30), 1.0, 0.1) == pytest.approx(0.51, rel=1e-9)
    assert critical_sigma_w(wave(30)) == pytest.approx(1 / 30, rel=1e-12)
    assert float(trajectory(wave(30), sigma_w=1.0, depth=5).forward[-1]) == pytest.approx(log(0.5), rel=1e-9)


@pytest.mark.parametrize(
    ("f", "edge"),
    [
        (F.elu, 1.0),
        (F.gelu, 2.0),
        (F.silu, 2.0),
        (F.mish, 1 / 0.6),
        (partial(F.leaky_relu, negative_slope=0.5), sqrt(1.6)),
    ],
    ids=["ELU", "GELU", "SiLU", "Mish", "leaky ReLU"],
)
def test_without_biases_the_edge_of_chaos_hangs_on_the_slopes_at_zero_alone(f, edge):
    assert critical_sigma_w(f) == pytest.approx(edge, rel=1e-12)


def test_at_length_zero_slopes_are_those_on_both_sides_of_zero():
    assert chi(torch.relu, 0.0, 1.0) == pytest.approx(0.5, rel=1e-12)
    assert variance_map(torch.cos, 0.0, 1.0) == pytest.approx(1, rel=1e-12)


def test_a_small_value_at_zero_is_not_taken_for_zero():
    def shifted(z):
        return torch.tanh(z) + 1e-5

    assert critical_sigma_w(shifted) != 1
    assert q_star(shifted, 0.5) == pytest.approx(0.25 * 1e-10 / 0.75, rel=1e-3)


def test_both_rules_integrate_the_polynomials_that_they_should():
    for rule, degree in ((quadrature._KRONROD, 22), (quadrature._GAUSS, 13)):
        for power in range(degree + 1):
            integral = float((rule * quadrature._ABSCISSAE**power).sum())
            assert integral == pytest.approx(0 if power % 2 else 2 / (power + 1), abs=1e-14)


def test_what_few_panels_tell_is_not_asked_again_with_more():
    """Of lengths at which few panels do one look is enough; of others only the doubtful are looked at again."""
    seen, panels = [], quadrature.panels_of(torch.sin)

    def counted(z):
        seen.append(z.numel())
        return torch.sin(z)

    lengths = torch.logspace(-4, 1, 6, dtype=torch.float64)
    quadrature.moments(counted, lengths, panels)
    once = sum(seen)
    seen.clear()
    quadrature.moments(counted, torch.cat([lengths, torch.tensor([1e5])]), panels)
    assert once == 6 * (len(panels.edges) + 16) * 15 + 1  # nodes between all edges, even and given ones, and f(0)
    for count in (64, 256, 1024):
        assert (len(panels.edges) + count) * 15 in seen


@pytest.mark.parametrize("f", NAMED.values(), ids=NAMED.keys())
@pytest.mark.parametrize("q", [1e-6, 1.0, 1e6])
def test_a_bound_on_the_error_is_one(f, q):
    panels = quadrature.panels_of(f)
    coarse = quadrature._moments(f, torch.tensor(q, dtype=torch.float64), panels, 4)
    fine = quadrature._moments(f, torch.tensor(q, dtype=torch.float64), panels, 1024)
    for part in ("square", "slope_square"):
        wrong = abs(float(getattr(coarse, part) / getattr(fine, part)) - 1)
        assert wrong <= float(coarse.error) + 1e-12


@pytest.mark.parametrize("place", [0.31, -1.7])
def test_a_bend_of_the_slope_is_found_where_it_is(place):
    kinks = quadrature.panels_of(lambda z: torch.where(z > place, (z - place).square(), 0.0)).kinks
    assert float((kinks - place).abs().min()) < 1e-6


@pytest.mark.parametrize(("good", "value"), [(10, 10.0), (20, 20.0), (40, 40.0)])
def test_a_mean_takes_no_more_panels_than_it_needs(good, value):
    tried = []

    def mean(count):
        tried.append(count)
        return torch.tensor(float(count)), torch.tensor(0.0 if count >= good else 1.0)

    assert quadrature.refined(mean, 1.0, (10, 20, 40)) == value
    assert tried == [count for count in (10, 20, 40) if count <= good]


def test_a_steep_place_is_told_once():
    """A tanh 400 times as steep rises over several cells of the grid, two of them over two places."""

    def f(z):
        return torch.tanh(400 * (z - 1)) + torch.tanh(400 * (z + 2))

    _, steep = quadrature.breakpoints(f)
    assert torch.allclose(steep[[0, -1]], torch.tensor([-2.0, 1.0], dtype=torch.float64), atol=0.03)
    assert len(steep) <= 4
