"""Slopes, and what is counted by them, agree with calculus, and every function that has none is refused."""

from math import inf, log, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from d2lstab import ACTIVATIONS, slope
from d2lstab.activations import check_elementwise, curve, dead_units, saturated_share
from tests.truth import NAMED, ROWS, truth

GRID = (torch.arange(400_000, dtype=torch.float64) - 199_999.5) / 20_000  # midpoints on ±10: no kink is hit
DENSITY = torch.softmax(-GRID.square() / 2, dim=0)


def mean(values: torch.Tensor) -> float:
    return float((values * DENSITY).sum())


catalogue = pytest.mark.parametrize("f", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())


# By hand and in closed form


@truth(*(name for name in ROWS if name.startswith("act.maxderiv.")))
def test_the_largest_slope_is_where_calculus_puts_it(row):
    z = torch.arange(-6, 6, 1e-4, dtype=torch.float64)
    slopes = slope(NAMED[row["inputs"]["activation"]], z).abs()
    # The grid passes the summit at a distance of at most 5e-5, where a parabola has lost about 1e-9.
    assert float(slopes.max()) == pytest.approx(row["value"]["max"], rel=5e-9)
    if row["value"]["argmax"] is not None:
        assert float(z[slopes.argmax()]) == pytest.approx(row["value"]["argmax"], abs=1e-4)


@truth(*(name for name in ROWS if name.startswith("act.moments.")))
def test_gaussian_moments_of_values_and_slopes(row):
    f, within = NAMED[row["inputs"]["activation"]], row["tolerance"]["abs"]
    value = f(GRID)
    assert mean(value) == pytest.approx(row["value"]["Ef"], abs=within)
    assert mean(value.square()) == pytest.approx(row["value"]["Ef2"], abs=within)
    assert mean(value.square()) - mean(value) ** 2 == pytest.approx(row["value"]["Varf"], abs=within)
    assert mean(slope(f, GRID).square()) == pytest.approx(row["value"]["Edf2"], abs=within)


def test_the_variance_of_a_relu_is_not_its_second_moment():
    row = ROWS["relu.inception_var"]
    value = torch.relu(GRID)
    assert mean(value.square()) - mean(value) ** 2 == pytest.approx(row["value"]["var_relu"], abs=1e-8)


@catalogue
@pytest.mark.parametrize("scale", [0.1, 1, 3], ids=str)
def test_a_slope_is_at_least_as_large_as_the_spread_of_what_it_makes(f, scale):
    """The Gaussian Poincaré inequality, q E f′² ≥ Var f; the catalogue has no straight line, where both are equal."""
    value, slopes = f(scale * GRID), slope(f, scale * GRID)
    ratio = scale**2 * mean(slopes.square()) / (mean(value.square()) - mean(value) ** 2)
    assert ratio > 1 if scale == 1 else ratio > 1 - 1e-9


def test_the_slopes_of_selu_are_its_two_constants():
    right, left = slope(F.selu, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert float(right) == pytest.approx(ROWS["selu.lambda"]["value"], rel=1e-15)
    assert float(left / right) == pytest.approx(ROWS["selu.alpha"]["value"], rel=1e-15)


@truth(*(name for name in ROWS if name.startswith("selu.iterate.")))
def test_selu_pulls_a_variance_towards_one(row):
    variance = row["inputs"]["nu0"]
    for _ in range(row["inputs"]["layers"]):
        value = F.selu(sqrt(variance) * GRID)
        average, variance = mean(value), mean(value.square())
    assert average == pytest.approx(row["value"]["mean"], abs=row["tolerance"]["abs"])
    assert variance - average**2 == pytest.approx(row["value"]["var"], abs=row["tolerance"]["abs"])


def test_a_kink_has_the_slope_that_autograd_gives_it():
    kink = torch.zeros(1)
    assert slope(torch.relu, kink) == 0
    assert slope(F.leaky_relu, kink) == pytest.approx(0.01)
    assert slope(torch.abs, kink) == 0
    assert slope(F.hardtanh, torch.ones(1)) == 0


def test_a_constant_and_a_step_are_flat():
    z = torch.tensor([-1.0, 0.0, 2.0])
    for f in (torch.ones_like, lambda z: (z > 0).to(z.dtype), torch.sign, lambda z: z.detach()):
        assert torch.equal(slope(f, z), torch.zeros(3))


def test_curve_covers_what_the_source_draws():
    sigmoid = curve(torch.sigmoid)
    assert len(sigmoid.x) == 160
    torch.testing.assert_close(sigmoid.x, torch.arange(-8.0, 8.0, 0.1))
    torch.testing.assert_close(sigmoid.value, torch.sigmoid(sigmoid.x))
    torch.testing.assert_close(sigmoid.gradient, sigmoid.value * (1 - sigmoid.value))
    assert not sigmoid.value.requires_grad and not sigmoid.gradient.requires_grad


def test_a_curve_draws_its_value_and_its_gradient():
    ax = curve(torch.tanh).plot(label="tanh")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["value of tanh", "gradient of tanh"]


def test_saturated_share_of_a_gaussian_is_an_error_function():
    z = sqrt(2) * torch.erfinv(2 * (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000 - 1)  # its quantiles
    edge = log((1 + sqrt(0.96)) / (1 - sqrt(0.96)))  # σ (1 − σ) = 0.01
    for scale in (1.0, 4.0, 16.0):
        expected = torch.erfc(torch.tensor(edge / scale / sqrt(2), dtype=torch.float64))
        assert float(saturated_share(torch.sigmoid, scale * z)) == pytest.approx(float(expected), abs=2e-4)


def test_saturated_share_counts_along_the_axes_asked_for():
    z = torch.tensor([[0.0, 9.0], [0.0, 0.0], [9.0, -9.0]])
    assert saturated_share(torch.sigmoid, z) == 0.5
    assert saturated_share(torch.sigmoid, z, dim=1).tolist() == [0.5, 0.0, 1.0]
    assert saturated_share(torch.sigmoid, z, dim=(0, 1)) == 0.5
    assert saturated_share(torch.sigmoid, z, slope_below=1) == 1.0


def test_a_unit_is_dead_only_if_no_input_moves_it():
    z = torch.tensor([[-1.0, -2.0, 3.0, 0.0], [-0.5, -1.0, 2.0, 0.0], [-2.0, 0.1, 1.0, 0.0]])
    assert dead_units(torch.relu, z).tolist() == [True, False, False, True]
    assert dead_units(torch.relu, z[:2]).tolist() == [True, True, False, True]  # a batch makes it look worse
    assert not dead_units(F.leaky_relu, z).any()
    assert dead_units(torch.relu, torch.stack([z, -z])).tolist() == [
        [True, False, False, True],
        [False, False, True, True],
    ]


def test_a_slope_that_rounds_to_zero_is_dead_too():
    z = torch.full((2, 1), -200.0)
    assert dead_units(F.elu, z).all() and not dead_units(F.elu, z / 10).any()
    assert not dead_units(F.elu, z.double()).any()  # e⁻²⁰⁰ is a float64


# Contracts: every entry of the catalogue


@catalogue
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_slope_follows_the_dtype_and_shape_of_its_input(f, dtype):
    z = torch.linspace(-3, 3, 12).reshape(3, 4).to(dtype)
    given = z.clone()
    slopes = slope(f, z)
    assert slopes.dtype == dtype and slopes.shape == z.shape and not slopes.requires_grad
    assert torch.equal(z, given)


@catalogue
def test_slope_is_the_limit_of_difference_quotients(f):
    z = torch.linspace(-7.9, 7.9, 200, dtype=torch.float64)  # between the kinks, all at whole numbers
    step = 1e-6
    quotients = (f(z + step) - f(z - step)) / (2 * step)
    torch.testing.assert_close(slope(f, z), quotients, rtol=1e-7, atol=1e-8)


@catalogue
def test_curve_and_slope_agree(f):
    drawn = curve(f, low=-3, high=3, step=0.25)
    assert torch.equal(drawn.value, f(drawn.x))
    assert torch.equal(drawn.gradient, slope(f, drawn.x))


# Properties


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_the_slope_of_a_sigmoid_is_value_times_one_minus_value(numbers):
    z = torch.tensor(numbers, dtype=torch.float64)
    value = torch.sigmoid(z)
    torch.testing.assert_close(slope(torch.sigmoid, z), value * (1 - value))
    assert (slope(torch.sigmoid, z) <= 0.25).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
def test_more_inputs_never_make_more_units_dead(inputs, units, seed):
    z = torch.randn(inputs + 3, units, generator=torch.Generator().manual_seed(seed))
    assert (dead_units(torch.relu, z) <= dead_units(torch.relu, z[:inputs])).all()


# Modules, and what must not change


@pytest.mark.parametrize("module", [nn.ReLU(inplace=True), nn.ELU(inplace=True), nn.Hardtanh(inplace=True)])
def test_an_in_place_module_leaves_its_input_alone(module):
    z = torch.tensor([[-2.0, -0.5], [0.5, 3.0]])
    given = z.clone()
    expected = slope({nn.ReLU: torch.relu, nn.ELU: F.elu, nn.Hardtanh: F.hardtanh}[type(module)], z)
    torch.testing.assert_close(slope(module, z), expected)
    saturated_share(module, z)
    dead_units(module, z)
    assert torch.equal(z, given)
    drawn = curve(module)
    assert drawn.x[0] == -8


def test_a_module_with_a_parameter_works_and_keeps_no_gradient():
    module = nn.PReLU(init=0.3)
    assert slope(module, torch.tensor([[-1.0, 1.0]])).tolist() == [[pytest.approx(0.3), 1.0]]
    assert module.weight.grad is None


def test_slope_works_where_gradients_are_switched_off():
    z = torch.tensor([0.0])
    with torch.no_grad():
        assert slope(torch.sigmoid, z) == 0.25
    with torch.inference_mode():
        assert slope(torch.sigmoid, z + 0) == 0.25


def test_slope_leaves_the_callers_graph_alone():
    z = torch.tensor([0.5], requires_grad=True)
    assert not slope(torch.tanh, z).requires_grad and z.grad is None


def test_nan_is_no_slope_and_no_reason_to_refuse():
    assert slope(torch.sqrt, torch.tensor([-1.0, 4.0]))[1] == 0.25


# Bad input


@pytest.mark.parametrize("f", ["tanh", None, 3, torch.zeros(2)], ids=repr)
def test_what_cannot_be_called_is_refused(f):
    with pytest.raises(TypeError, match="activation=.*\nexpected a function"):
        slope(f, torch.zeros(2))


@pytest.mark.parametrize(
    "f",
    [
        nn.Softmax(dim=-1),
        nn.Softmax(dim=0),
        torch.softmax,
        nn.LayerNorm(32),
        nn.LayerNorm(256),
        nn.BatchNorm1d(32),
        nn.Dropout(0.5),
        nn.Dropout(0.03),
        nn.RReLU(),
        nn.GLU(),
        nn.Linear(32, 32),
        nn.PReLU(32),
        nn.MaxPool1d(2),
        lambda z: z / z.norm(),
        lambda z: z - z.mean(),
        lambda z: z.cumsum(-1),
        lambda z: z.relu() * z.relu().mean(),
        lambda z: z.neg().relu() * z.neg().relu().mean(),
        lambda z: z.flip(0),
        lambda z: z * torch.arange(z.shape[-1]),
        lambda z: z.sum(),
        lambda z: z[..., None],
    ],
    ids=lambda f: repr(f).partition(" at 0x")[0],  # an address would name a test anew in each process
)
def test_a_function_of_more_than_one_entry_is_refused(f):
    with pytest.raises(ValueError, match="\nexpected an elementwise, deterministic function"):
        check_elementwise(f)


@pytest.mark.parametrize("f", [lambda z: None, lambda z: z > 0, lambda z: z.int(), lambda z: (z, z)])
def test_what_returns_no_floating_tensor_is_refused(f):
    with pytest.raises(TypeError, match="returned .*\nexpected a floating tensor"):
        check_elementwise(f)


@pytest.mark.parametrize("z", [0.5, [0.5], "z", torch.arange(3), torch.zeros(2, dtype=torch.complex64)], ids=repr)
def test_an_input_that_has_no_slope_is_refused(z):
    with pytest.raises(TypeError, match="activation tanh of a .*\nexpected a floating tensor"):
        slope(torch.tanh, z)


@pytest.mark.parametrize(
    "grid",
    [{"low": 1, "high": 1}, {"low": 2, "high": 1}, {"step": 0}, {"step": -0.1}, {"step": float("nan")}, {"high": inf}],
    ids=repr,
)
def test_a_grid_that_is_none_is_refused(grid):
    with pytest.raises(ValueError, match="low=.*high=.*step="):
        curve(torch.tanh, **grid)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        saturated_share(torch.tanh, torch.zeros(0, 3))
    with pytest.raises(ValueError, match="slope_below=-1"):
        saturated_share(torch.tanh, torch.zeros(3), slope_below=-1)


@pytest.mark.parametrize("shape", [(3,), (0, 3)])
def test_units_without_inputs_are_neither_dead_nor_alive(shape):
    with pytest.raises(ValueError, match="inputs, units"):
        dead_units(torch.relu, torch.zeros(shape))


def test_the_share_of_entries_of_which_one_is_nan_is_unknown():
    z = torch.tensor([[0.0, 30.0], [0.0, torch.nan]])
    shares = saturated_share(torch.sigmoid, z, dim=0)
    assert shares[0] == 0
    assert shares[1].isnan()
    assert saturated_share(torch.relu, z).isnan()
    assert saturated_share(torch.sigmoid, torch.tensor([torch.inf, 0.0])) == 0.5


def test_units_are_not_called_alive_or_dead_from_nan():
    z = torch.tensor([[-1.0, torch.nan], [-1.0, 1.0]])
    with pytest.raises(ValueError, match=r"z with 1 NaN of 4 entries\nexpected numbers"):
        dead_units(torch.relu, z)
