"""Sizes are carried exactly, agree with plain torch where it can hold them, and with theory in the mean."""

from functools import partial
from math import log, pi, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from d2lstab import (
    ACTIVATIONS,
    INITIALIZERS,
    depth_sweep,
    he_normal_,
    lecun_normal_,
    mlp,
    network_sweep,
    normal_,
    orthogonal_,
    residual_mlp,
    seeded,
    xavier_normal_,
)
from d2lstab.initializers.filling import draw_weight
from d2lstab.mean_field import batchnorm_gradient_factor
from d2lstab.propagation import layers, propagate
from d2lstab.randomness import normal
from tests.truth import truth

pytestmark = pytest.mark.slow

catalogue = pytest.mark.parametrize("f", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
small = {"depth": 3, "width": 8, "batch": 4, "seeds": range(2)}


def identity(z: torch.Tensor) -> torch.Tensor:
    return z


def times_identity(weight: torch.Tensor, *, factor: float, generator=None) -> torch.Tensor:
    return weight.copy_(factor * torch.eye(len(weight)))


def drawn_again(initializer, *, depth, width, batch, seed):
    """What depth_sweep draws for one seed, in the order it draws it."""
    generator = seeded(seed)
    inputs, gradient = (normal(batch, width, generator=generator).double() for _ in range(2))
    return inputs, gradient, [draw_weight(initializer, (width, width), generator).double() for _ in range(depth)]


# Oracle: plain torch in float64


@catalogue
def test_a_sweep_is_what_forward_and_autograd_compute(f):
    sizes = {"depth": 6, "width": 12, "batch": 5}
    sweep = depth_sweep(partial(lecun_normal_, gain=1.7), f, **sizes, seeds=[3], dtype=torch.float64)
    inputs, gradient, weights = drawn_again(partial(lecun_normal_, gain=1.7), **sizes, seed=3)
    signals = [inputs.requires_grad_()]
    for weight in weights:
        signals.append(f(signals[-1] @ weight.mT))
        signals[-1].retain_grad()
    signals[-1].backward(gradient)
    forward = torch.stack([signal.detach().square().mean().log() for signal in signals])
    backward = torch.stack([signal.grad.square().mean().log() for signal in signals])
    torch.testing.assert_close(sweep.forward[0], forward, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(sweep.backward[0], backward, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(propagate(inputs.detach(), weights, f), forward, rtol=1e-10, atol=1e-10)


def test_by_hand_two_layers_of_two_units():
    inputs = torch.tensor([[1.0, -1.0]])
    weights = [torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 1.0], [0.0, 0.0]])]
    expected = torch.tensor([1.0, 9 / 2, 36 / 2], dtype=torch.float64).log()  # (1, −1) → (3, 0) → (6, 0)
    torch.testing.assert_close(propagate(inputs, weights, torch.relu), expected)


# Sizes in logarithms


def test_a_relu_signal_and_its_gradient_are_exact_at_depth_10000_in_half_precision():
    sizes = {"depth": 10_000, "width": 4, "batch": 4, "seeds": [0], "dtype": torch.float16}
    sweep = depth_sweep(partial(times_identity, factor=8.0), torch.relu, **sizes)
    expected = torch.full((9_999,), log(64), dtype=torch.float64)  # the first ReLU takes the negative half away
    torch.testing.assert_close(sweep.forward[0, 1:].diff(), expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(-sweep.backward[0, :-1].diff(), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [8.0, 0.125])
@pytest.mark.parametrize("f", [identity, torch.abs, torch.relu, F.leaky_relu], ids=lambda f: f.__name__)
def test_a_linear_size_is_exact_in_every_dtype(f, factor, dtype):
    depth = 10_000 if dtype == torch.float32 and f is torch.relu else 300
    inputs = normal(2, 4, generator=seeded(0), dtype=dtype).abs()
    logs = propagate(inputs, [factor * torch.eye(4, dtype=dtype)] * depth, f)
    assert float(logs[-1] - logs[0]) == pytest.approx(depth * 2 * log(factor), rel=1e-12)


@pytest.mark.parametrize("gain", [0.1, 10.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_random_layers_lose_no_more_than_the_rounding_of_their_products(dtype, gain):
    turns, sizes = partial(orthogonal_, gain=gain), {"depth": 500, "width": 16, "batch": 4, "seeds": range(3)}
    short, exact = (depth_sweep(turns, identity, dtype=d, **sizes) for d in (dtype, torch.float64))
    torch.testing.assert_close(exact.forward[:, -1] - exact.forward[:, 0], torch.full((3,), 1000 * log(gain)).double())
    # Independent roundings of relative size ε add up like the root of their number.
    within = 4 * torch.finfo(dtype).eps * sqrt(sizes["depth"])
    assert float((short.forward - exact.forward).abs().max()) < within
    assert float((short.backward - exact.backward).abs().max()) < within


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (torch.tanh, 1),  # near 0 a smooth f is its slope there
        (F.gelu, 0.5),
        (F.silu, 0.5),
        (torch.erf, 2 / sqrt(pi)),
        (F.hardtanh, 1),
        (F.elu, 1),
    ],
)
def test_near_zero_an_activation_goes_on_as_a_line(f, slope, dtype):
    initializer = partial(lecun_normal_, gain=0.1)
    sizes = {"depth": 120, "width": 32, "batch": 4, "seeds": [0]}
    measured = depth_sweep(initializer, f, **sizes, dtype=dtype)
    line = depth_sweep(initializer, lambda z: slope * z, **sizes, dtype=torch.float64)
    assert float(line.forward[0, -1]) < -400  # e⁻⁴⁰⁰ is no float32
    # Ten layers on, |z| is below 10⁻⁸ and f is a line; what differs is rounding, and a first layer for each.
    torch.testing.assert_close(measured.forward[0, 10:].diff(), line.forward[0, 10:].diff(), rtol=0, atol=0.1)
    assert float((measured.forward - line.forward)[0, -1]) == pytest.approx(0, abs=2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("f", [F.elu, F.selu, F.gelu, F.silu, F.softplus], ids=lambda f: f.__name__)
def test_far_out_an_activation_goes_on_as_a_relu(f, dtype):
    initializer = partial(lecun_normal_, gain=100.0)
    sizes = {"depth": 100, "width": 32, "batch": 4, "seeds": [0]}
    measured = depth_sweep(initializer, f, **sizes, dtype=dtype)
    relu = depth_sweep(initializer, torch.relu, **sizes, dtype=torch.float64)
    assert float(relu.forward[0, -1]) > 600  # e⁶⁰⁰ is no float32
    steepness = 2 * log(float(f(torch.tensor(1e6))) / 1e6)  # SELU's is λ
    grown = measured.forward[0, 10:].diff() - steepness
    torch.testing.assert_close(grown, relu.forward[0, 10:].diff(), rtol=0, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("f", [torch.sigmoid, torch.tanh, torch.erf, F.hardtanh])
def test_a_saturating_activation_stays_below_one_at_any_gain(f, dtype):
    sweep = depth_sweep(partial(lecun_normal_, gain=1e4), f, depth=20, width=32, batch=4, seeds=[0], dtype=dtype)
    assert (sweep.forward[0, 1:] <= 1e-12).all() and (sweep.forward[0, 1:] > log(0.1)).all()


def test_a_size_beyond_what_a_layer_may_hold_does_not_overflow_its_norm():
    sweep = depth_sweep(normal_, torch.relu, depth=60, width=100, batch=1000, seeds=[0])
    assert sweep.forward.isfinite().all() and sweep.backward.isfinite().all()
    assert float(sweep.forward[0, -1]) == pytest.approx(60 * log(50), abs=4 * sqrt(5 * 60 / 100))


def test_a_tiny_slope_is_not_zero():
    tiny = 1e-20  # its square is beyond float32
    sweep = depth_sweep(orthogonal_, lambda z: tiny * z, depth=8, width=4, batch=2, seeds=[0])
    expected = torch.full((8,), 2 * log(tiny), dtype=torch.float64)
    torch.testing.assert_close(sweep.forward[0].diff(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(-sweep.backward[0].diff(), expected, rtol=1e-6, atol=0)


def test_a_signal_of_zero_has_the_logarithm_of_zero():
    zero = [torch.zeros(4, 4)] * 3
    inputs = torch.ones(2, 4)
    first, *lost = propagate(inputs, zero, torch.relu).tolist()
    assert first == pytest.approx(0, abs=1e-12) and lost == [-torch.inf] * 3
    assert propagate(inputs, zero, torch.zeros_like)[1] == -torch.inf
    assert propagate(0 * inputs, [torch.eye(4)], torch.tanh).tolist() == [-torch.inf, -torch.inf]
    torch.testing.assert_close(
        propagate(inputs, zero, torch.sigmoid)[1:], torch.full((3,), log(0.25), dtype=torch.float64)
    )
    torch.testing.assert_close(propagate(inputs, zero, torch.cos)[1:], torch.zeros(3, dtype=torch.float64))


def test_a_dead_network_has_no_gradient():
    sweep = depth_sweep(partial(times_identity, factor=-1.0), torch.relu, **small)
    assert (sweep.forward[:, 2:] == -torch.inf).all() and (sweep.backward[:, 0] == -torch.inf).all()


@pytest.mark.parametrize("f", [torch.exp, torch.square, lambda z: z**3], ids=["exp", "square", "cube"])
def test_growth_faster_than_linear_is_exact_until_it_overflows(f):
    inputs, weights = normal(4, 16, generator=seeded(0)), [normal(16, 16, generator=seeded(i)) / 4 for i in range(12)]
    short = propagate(inputs, weights, f)
    exact = propagate(inputs.double(), [weight.double() for weight in weights], f)
    held = short.isfinite()
    assert 2 <= held.sum() < 12 and not held[-1]  # it says so, rather than pass for a line
    torch.testing.assert_close(short[held], exact[held], rtol=1e-3, atol=1e-3)


# Theory


@truth("relu.he.moments.n10.L10", "relu.he.moments.n100.L20")
def test_he_keeps_the_second_moment_in_the_mean(row):
    n, depth = row["inputs"]["n"], row["inputs"]["L"]
    trials, generator = 20_000 // n, seeded(0)
    weights = [normal(trials, n, n, generator=generator) * sqrt(2 / n) for _ in range(depth)]
    ratios = propagate(torch.ones(1, n), weights, torch.relu)[:, -1].exp()
    within = 4 * sqrt((row["value"]["E_ratio_sq"] - 1) / trials)
    assert float(ratios.mean()) == pytest.approx(row["value"]["E_ratio"], abs=within)


@truth("relu.he.log.n10", "relu.he.log.n50", "relu.he.log.n512")
def test_the_logarithm_of_a_he_layer_has_its_finite_width_law(row):
    n = row["inputs"]["n"]
    seeds = min(300, 2000 // n + 3)
    sweep = depth_sweep(he_normal_, torch.relu, depth=20, width=n, batch=1, seeds=range(seeds))
    steps = sweep.forward.diff(dim=1)
    steps = steps[steps.isfinite()]  # given that the layer is not dead
    mean, variance = row["value"]["mean_log"], row["value"]["var_log"]
    assert float(steps.mean()) == pytest.approx(mean, abs=4 * sqrt(variance / len(steps)))
    kurtosis = float((steps - mean).pow(4).mean() / variance**2)
    assert float(steps.var()) == pytest.approx(variance, rel=4 * sqrt((kurtosis - 1) / len(steps)))


@truth("relu.secondmoment.n01_512", "relu.secondmoment.xavier")
def test_the_second_moment_of_relu_networks_against_depth(row):
    initializer, width = (normal_, 512) if row["id"].endswith("512") else (xavier_normal_, 128)
    depth, seeds = row["inputs"]["L"], 8
    sweep = depth_sweep(initializer, torch.relu, depth=depth, width=width, batch=4, seeds=range(seeds))
    typical = (sweep.forward[:, -1] - sweep.forward[:, 0]).mean()  # below the mean by 5 L / 2n, give or take √(5 L / n)
    within = 4 * sqrt(5 * depth / width / seeds)
    assert float(typical) == pytest.approx(log(row["value"]["total"]) - 2.5 * depth / width, abs=within)


@truth("relu.dead.n8.L100")
def test_a_narrow_relu_network_dies_as_often_as_counting_says(row):
    n, depth, p, trials = row["inputs"]["n"], row["inputs"]["L"], row["value"], 1000
    generator = seeded(0)
    weights = [normal(trials, n, n, generator=generator) for _ in range(depth)]
    dead = propagate(torch.ones(1, n), weights, torch.relu)[:, -1] == -torch.inf
    assert float(dead.double().mean()) == pytest.approx(p, abs=4 * sqrt(p * (1 - p) / trials))


def test_orthogonal_weights_keep_a_linear_signal_and_its_gradient():
    sweep = depth_sweep(orthogonal_, identity, depth=30, width=16, batch=4)
    rounding = 4 * torch.finfo(torch.float32).eps * 30
    assert float((sweep.forward - sweep.forward[:, :1]).abs().max()) < rounding
    assert float((sweep.backward - sweep.backward[:, -1:]).abs().max()) < rounding


@settings(deadline=None, max_examples=25)
@given(st.floats(1e-6, 1e6), st.sampled_from([torch.relu, torch.abs, F.leaky_relu, identity]))
def test_a_scale_passes_through_what_is_positively_homogeneous(scale, f):
    inputs, weights = normal(3, 5, generator=seeded(1)), [normal(5, 5, generator=seeded(2)).double()]
    plain, scaled = (propagate(factor * inputs.double(), weights, f) for factor in (1, scale))
    torch.testing.assert_close(
        scaled - plain, torch.full((2,), 2 * log(scale), dtype=torch.float64), rtol=1e-9, atol=1e-9
    )


# Shapes, seeds, dtypes, devices


def test_a_seed_means_the_same_numbers_alone_or_in_company():
    sweep = partial(depth_sweep, lecun_normal_, torch.tanh, depth=9, width=17, batch=3, dtype=torch.float64)
    together, alone = sweep(seeds=[4, 0, 7]), sweep(seeds=7)
    torch.testing.assert_close(together.forward[2:], alone.forward, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(together.backward[2:], alone.backward, rtol=1e-12, atol=1e-12)


def test_many_seeds_hold_few_weights_at_once(monkeypatch):
    sweep = partial(depth_sweep, lecun_normal_, torch.tanh, depth=4, width=8, batch=3, seeds=range(7))
    together, most = sweep(), 3 * 4 * 8**2
    monkeypatch.setattr("d2lstab.propagation.layers._WEIGHTS", most)
    held, forward = [], layers._forward
    monkeypatch.setattr(
        layers,
        "_forward",
        lambda inputs, weights, *rest, **more: (
            held.append(sum(each.numel() for each in weights)) or forward(inputs, weights, *rest, **more)
        ),
    )
    in_groups = sweep()
    assert held == [most, most, most / 3]
    torch.testing.assert_close(in_groups.forward, together.forward, rtol=0, atol=1e-6)
    torch.testing.assert_close(in_groups.backward, together.backward, rtol=0, atol=1e-6)


def test_a_sweep_is_the_same_twice_and_leaves_the_global_stream_alone():
    before = torch.random.get_rng_state()
    first, second = depth_sweep(he_normal_, torch.relu, **small), depth_sweep(he_normal_, torch.relu, **small)
    assert torch.equal(first.forward, second.forward) and torch.equal(first.backward, second.backward)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS.keys())
def test_every_catalogued_initializer_can_be_swept(initializer):
    sweep = depth_sweep(initializer, torch.tanh, **small)
    assert sweep.forward.shape == sweep.backward.shape == (2, 4)
    assert sweep.forward.dtype == torch.float64 and sweep.forward.isfinite().all() and sweep.backward.isfinite().all()


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]
)
def test_a_device_gives_the_numbers_of_the_cpu(device):
    sweep = partial(depth_sweep, he_normal_, torch.relu, **small, dtype=torch.float64)
    torch.testing.assert_close(sweep(device=device).forward, sweep().forward, rtol=1e-10, atol=1e-10)


def test_one_input_may_go_through_many_networks_and_widths_may_change():
    weights = [normal(6, 7, 5, generator=seeded(0)), normal(6, 3, 7, generator=seeded(1))]
    inputs = normal(4, 5, generator=seeded(2))
    logs = propagate(inputs, weights, torch.tanh)
    assert logs.shape == (6, 3)
    one = propagate(inputs, [weight[2] for weight in weights], torch.tanh)
    torch.testing.assert_close(logs[2], one, rtol=1e-5, atol=1e-5)
    assert propagate(inputs, [], torch.tanh).shape == (1,)
    assert torch.equal(propagate(inputs, iter(weights), torch.tanh), logs)


def test_an_in_place_module_changes_neither_inputs_nor_weights():
    inputs, weights = -torch.ones(2, 3), [torch.eye(3)] * 2
    in_place = propagate(inputs, weights, nn.ReLU(inplace=True))
    assert torch.equal(inputs, -torch.ones(2, 3)) and torch.equal(weights[0], torch.eye(3))
    assert torch.equal(in_place, propagate(inputs, weights, torch.relu))
    sweeps = [depth_sweep(he_normal_, f, **small) for f in (nn.ELU(inplace=True), F.elu)]
    for direction in ("forward", "backward"):  # of float32 networks, in float64
        first, second = (getattr(sweep, direction) for sweep in sweeps)
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_a_sweep_draws_each_direction_in_powers_of_ten():
    sweep = depth_sweep(he_normal_, torch.relu, **small)
    ax = sweep.plot(label="forward")
    sweep.plot(ax, direction="backward", label="backward")
    assert len(ax.lines) == 2 and ax.get_xlabel() == "layer" and "log₁₀" in ax.get_ylabel()
    drawn = torch.as_tensor(ax.lines[0].get_ydata())
    torch.testing.assert_close(drawn, sweep.forward.nanmedian(0).values / log(10))
    with pytest.raises(ValueError, match="direction='sideways'"):
        sweep.plot(direction="sideways")


# Bad input


@pytest.mark.parametrize("size", ["depth", "width", "batch"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, None])
def test_a_size_that_is_no_size_is_refused(size, value):
    with pytest.raises(ValueError, match=f"{size}="):
        depth_sweep(he_normal_, torch.relu, **small | {size: value})


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_that_are_none_are_refused(seeds):
    with pytest.raises(ValueError, match="seed"):
        depth_sweep(he_normal_, torch.relu, **small | {"seeds": seeds})


@pytest.mark.parametrize("dtype", [torch.int64, "float32", torch.complex64])
def test_a_dtype_that_is_not_floating_is_refused(dtype):
    with pytest.raises(ValueError, match="dtype="):
        depth_sweep(he_normal_, torch.relu, dtype=dtype, **small)


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match="device="):
        depth_sweep(he_normal_, torch.relu, device=device, **small)


@pytest.mark.parametrize("initializer", [None, "he", lambda weight, *, generator: None])
def test_an_initializer_that_returns_no_weight_is_refused(initializer):
    with pytest.raises(TypeError, match="initializer"):
        depth_sweep(initializer, torch.relu, **small)


def test_an_initializer_that_changes_the_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 8\)"):
        depth_sweep(lambda weight, *, generator: weight[:1].normal_(generator=generator), torch.relu, **small)


@pytest.mark.parametrize("f", [nn.Softmax(dim=-1), nn.LayerNorm(8), nn.Dropout()])
def test_what_is_not_elementwise_is_refused_before_anything_is_drawn(f):
    def never(weight, *, generator):
        raise AssertionError("drawn")

    with pytest.raises(ValueError, match="elementwise"):
        depth_sweep(never, f, **small)
    with pytest.raises(ValueError, match="elementwise"):
        propagate(torch.ones(2, 8), [torch.eye(8)], f)


@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(3, 4),
        torch.ones(5),
        torch.ones(2, 5, 5),
        torch.ones(5, 5, dtype=torch.float64),
        torch.ones(5, 5, dtype=torch.int64),
    ],
    ids=lambda weight: f"{tuple(weight.shape)} {weight.dtype}",
)
def test_a_weight_that_does_not_fit_is_named(weight):
    with pytest.raises(ValueError, match=r"weight 1 of shape .*\nexpected \(\.\.\., fan_out, 5\)"):
        propagate(torch.ones(3, 2, 5), [torch.eye(5), weight], torch.relu)


@pytest.mark.parametrize("inputs", [torch.ones(5), torch.ones(0, 5), torch.ones(2, 5, dtype=torch.int64)])
def test_inputs_that_are_no_batch_are_refused(inputs):
    with pytest.raises(ValueError, match="inputs of shape"):
        propagate(inputs, [torch.eye(5)], torch.relu)


@pytest.mark.parametrize(
    "call",
    [
        lambda: depth_sweep(he_normal_, torch.sqrt, **small),
        lambda: propagate(-torch.ones(2, 3), [torch.eye(3)], torch.sqrt),
    ],
)
def test_an_activation_without_a_value_is_named(call):
    with pytest.raises(ValueError, match="activation sqrt returned NaN in layer 1\nexpected"):
        call()


# Any Sequential


def small_network(seed: int, **changes) -> nn.Sequential:
    settings = {"widths": [8, 6, 7, 3], "activation": torch.tanh, "initializer": lecun_normal_}
    return mlp(**settings | changes, seed=seed)


BATCH = normal(5, 8, generator=seeded(0))


@pytest.mark.parametrize("norm", [None, nn.BatchNorm1d, nn.LayerNorm])
def test_a_network_sweep_is_what_forward_and_autograd_compute(norm):
    sweep = network_sweep(partial(small_network, norm=norm), inputs=BATCH, seeds=[3])
    signals = [BATCH.double().requires_grad_()]
    for child in small_network(3, norm=norm, dtype=torch.float64):
        signals.append(child(signals[-1]))
        signals[-1].retain_grad()
    signals[-1].backward(normal(5, 3, generator=seeded(3), dtype=torch.float64))
    forward = torch.stack([signal.detach().square().mean().log() for signal in signals])
    backward = torch.stack([signal.grad.square().mean().log() for signal in signals])
    torch.testing.assert_close(sweep.forward[0], forward, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(sweep.backward[0], backward, rtol=1e-10, atol=1e-10)


def test_by_hand_a_doubling_child_doubles_both_ways():
    def double(seed):
        return nn.Sequential(*[nn.ConvTranspose2d(1, 1, 1, bias=False) for _ in range(3)]).apply(fill_with_two)

    def fill_with_two(module):
        if hasattr(module, "weight"):
            nn.init.constant_(module.weight, 2.0)

    sweep = network_sweep(double, inputs=torch.ones(2, 1, 3, 3), seeds=range(2))
    assert sweep.forward.shape == sweep.backward.shape == (2, 4)
    torch.testing.assert_close(sweep.forward, log(4) * torch.arange(4).double().expand(2, 4))
    torch.testing.assert_close(sweep.backward.diff(), torch.full((2, 3), -log(4)).double())


def test_a_gradient_of_any_size_is_carried_and_a_signal_within_the_range_of_float64():
    def steep(seed):
        return nn.Sequential(*[nn.Linear(1, 1, bias=False) for _ in range(8)]).apply(
            lambda module: isinstance(module, nn.Linear) and nn.init.constant_(module.weight, 1e30)
        )

    sweep = network_sweep(steep, inputs=torch.ones(2, 1) * 1e-30, seeds=[0])  # the gradient ends at 10^240
    assert sweep.backward.isfinite().all() and sweep.forward[0, :6].isfinite().all()
    assert float(sweep.backward[0, 0] - sweep.backward[0, -1]) == pytest.approx(16 * 30 * log(10), rel=1e-6)


def test_batch_normalized_relu_layers_multiply_a_squared_gradient_as_theory_says():
    def deep(seed):
        return mlp([64] * 16, torch.relu, initializer=he_normal_, norm=nn.BatchNorm1d, seed=seed)

    sweep = network_sweep(deep, inputs=normal(16, 64, generator=seeded(0)), seeds=range(40))
    factor = (sweep.backward[:, 2:12] - sweep.backward[:, 3:13]).exp().mean(1)
    within = 4 * float(factor.std()) / sqrt(40)
    assert within < 0.05
    assert float(factor.mean()) == pytest.approx(batchnorm_gradient_factor(torch.relu, 16), abs=within)


def test_a_seed_means_the_same_sweep_alone_or_in_company():
    together = network_sweep(small_network, inputs=BATCH, seeds=[4, 0, 7])
    alone = network_sweep(small_network, inputs=BATCH, seeds=7)
    assert torch.equal(together.forward[2:], alone.forward) and torch.equal(together.backward[2:], alone.backward)


def test_a_sweep_leaves_models_inputs_and_random_streams_as_they_were():
    def made(seed):
        return nn.Sequential(
            nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(6, 2)
        )

    model, inputs, stream = made(0).eval(), BATCH.clone(), torch.get_rng_state()
    model.train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        first = network_sweep(lambda seed: model, inputs=inputs, seeds=range(2))
    assert torch.equal(torch.get_rng_state(), stream) and torch.equal(inputs, BATCH)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight)) and model[1].weight.grad is None
    assert model.training and model[0].weight.requires_grad and model[0].weight.dtype == torch.float32
    assert torch.equal(first.backward, network_sweep(lambda seed: model, inputs=inputs, seeds=range(2)).backward)
    fresh = network_sweep(made, inputs=inputs, seeds=range(2))  # torch's own draws follow the seed
    assert torch.equal(fresh.forward, network_sweep(made, inputs=inputs, seeds=range(2)).forward)


def test_the_mode_of_a_model_decides_whose_statistics_count():
    def model(seed, train):
        return nn.Sequential(nn.BatchNorm1d(8)).train(train)

    batch = network_sweep(partial(model, train=True), inputs=3 * BATCH, seeds=[0]).forward
    stored = network_sweep(partial(model, train=False), inputs=3 * BATCH, seeds=[0]).forward
    assert float(batch[0, 1]) == pytest.approx(0, abs=1e-5)
    assert float(stored[0, 1] - stored[0, 0]) == pytest.approx(0, abs=1e-4)


def test_what_lets_no_gradient_through_has_the_logarithm_of_zero():
    class Constant(nn.Module):
        def forward(self, h):
            return torch.ones_like(h)

    sweep = network_sweep(lambda seed: nn.Sequential(nn.Tanh(), Constant(), nn.Tanh()), inputs=BATCH, seeds=[0])
    assert sweep.backward[0, :2].tolist() == [-torch.inf, -torch.inf] and sweep.backward[0, 2:].isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_network_sweep_on_a_gpu_gives_the_numbers_of_the_cpu():
    deep = partial(residual_mlp, 8, 4, torch.relu, initializer=he_normal_, inputs=8, norm=nn.BatchNorm1d)
    sweep = partial(network_sweep, lambda seed: deep(seed=seed), seeds=range(2))
    torch.testing.assert_close(sweep(inputs=BATCH.cuda()).backward, sweep(inputs=BATCH).backward)


@pytest.mark.parametrize(
    "inputs",
    [torch.ones(8), torch.ones(0, 8), torch.ones(2, 8, dtype=torch.int64), [[1.0]], None],
    ids=["one axis", "empty", "whole numbers", "a list", "nothing"],
)
def test_a_network_sweep_refuses_inputs_that_are_no_batch(inputs):
    with pytest.raises(ValueError, match="inputs of .*\nexpected a floating tensor"):
        network_sweep(small_network, inputs=inputs)


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_a_network_sweep_refuses_seeds_that_are_none(seeds):
    with pytest.raises(ValueError, match="seed"):
        network_sweep(small_network, inputs=BATCH, seeds=seeds)


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        (nn.Sequential(), ValueError, "empty Sequential"),
        (nn.Linear(8, 8), TypeError, "returned Linear"),
        (None, TypeError, "returned NoneType"),
        (nn.Sequential(nn.Linear(8, 4), nn.Linear(5, 2)), ValueError, r"child '1', Linear, .* shape \(5, 4\)"),
        (nn.Sequential(nn.LSTM(8, 4)), TypeError, "child '0', LSTM, returned tuple"),
    ],
    ids=["empty", "no Sequential", "nothing", "misfit", "no tensor"],
)
def test_a_network_sweep_refuses_what_is_no_chain_of_layers(model, error, says):
    with pytest.raises(error, match=f"{says}.*\nexpected"):
        network_sweep(lambda seed: model, inputs=BATCH)


class Stopping:
    """An activation or a factory that is stopped by hand after some calls."""

    def __init__(self, call, after: int):
        self.call, self.after = call, after

    def __call__(self, given):
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return self.call(given)


def test_an_interrupted_sweep_keeps_the_seeds_done(monkeypatch):
    monkeypatch.setattr(layers, "_WEIGHTS", 1)  # one seed at a time
    whole = depth_sweep(he_normal_, torch.tanh, depth=3, width=8, batch=4, seeds=range(4))
    calls = Stopping(layers._forward, 2)
    monkeypatch.setattr(layers, "_forward", lambda inputs, *rest, **settings: calls((inputs, rest, settings)))
    calls.call = lambda given, forward=calls.call: forward(given[0], *given[1], **given[2])
    found = depth_sweep(he_normal_, torch.tanh, depth=3, width=8, batch=4, seeds=range(4))
    assert found.interrupted
    assert not whole.interrupted
    for part in ("forward", "backward"):
        assert torch.equal(getattr(found, part)[:2], getattr(whole, part)[:2])
        assert getattr(found, part)[2:].isnan().all()
    assert found.plot() is not None


def test_an_interrupted_sweep_of_networks_keeps_the_seeds_done():
    def network(seed):
        return mlp([4, 4, 4], torch.tanh, initializer=he_normal_, seed=seed)

    inputs = normal(3, 4, generator=seeded(0))
    found = network_sweep(Stopping(network, 2), inputs=inputs, seeds=range(4))
    assert found.interrupted
    assert torch.equal(found.forward[:2], network_sweep(network, inputs=inputs, seeds=range(2)).forward)
    assert found.forward[2:].isnan().all()
    with pytest.raises(KeyboardInterrupt):
        network_sweep(Stopping(network, 0), inputs=inputs)


def test_each_of_many_networks_on_two_leading_axes_is_as_alone():
    x = normal(5, 4, generator=seeded(0))
    weights = [normal(2, 3, 4, 4, generator=seeded(seed)) for seed in (1, 2)]
    together = propagate(x, weights, torch.tanh)
    assert together.shape == (2, 3, 3)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(together[i, j], propagate(x, [weight[i, j] for weight in weights], torch.tanh))
