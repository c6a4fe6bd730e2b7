"""Initializers keep torch's contract and have the scale that theory gives them."""

from functools import partial
from math import sqrt

import pytest
import torch
from torch import nn

from d2lstab import (
    INITIALIZERS,
    fans,
    he_normal_,
    he_uniform_,
    initialize_,
    lecun_normal_,
    normal_,
    seeded,
    torch_default_,
    xavier_normal_,
    xavier_uniform_,
)
from tests.truth import truth

every_initializer = pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS.keys())


@every_initializer
def test_every_catalogued_initializer_obeys_the_contract(initializer):
    weight = torch.zeros(6, 4, requires_grad=True)
    assert initializer(weight, generator=seeded(0)) is weight
    assert weight.requires_grad
    assert weight.grad_fn is None
    again = initializer(torch.zeros(6, 4), generator=seeded(0))
    assert torch.equal(weight, again)
    assert weight.abs().sum() > 0


@every_initializer
def test_every_catalogued_initializer_leaves_the_global_stream_alone(initializer):
    before = torch.get_rng_state()
    initializer(torch.zeros(6, 4), generator=seeded(0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        (normal_, 1),
        (partial(normal_, std=0.01), 1e-4),
        (lecun_normal_, 1 / 256),
        (partial(lecun_normal_, gain=3), 9 / 256),
        (he_normal_, 2 / 256),
        (partial(he_normal_, gain=1.5), 2.25 / 256),
        (he_uniform_, 2 / 256),
        (xavier_normal_, 2 / (256 + 512)),
        (xavier_uniform_, 2 / (256 + 512)),
        (torch_default_, 1 / (3 * 256)),
    ],
)
def test_the_variance_is_the_one_in_the_paper(initializer, variance):
    weight = initializer(torch.empty(512, 256, dtype=torch.float64), generator=seeded(0))
    # The relative standard error of a variance of n normal numbers is √(2/n); uniform ones vary less.
    assert float(weight.square().mean()) == pytest.approx(variance, rel=5 * sqrt(2 / weight.numel()))
    assert abs(float(weight.mean())) < 5 * sqrt(variance / weight.numel())


@truth("init.xavier.256x128", "init.xavier.512x512")
def test_scales_of_the_reference_table(row):
    fan_in, fan_out = row["inputs"]["fan_in"], row["inputs"]["fan_out"]

    def largest(initializer):
        return float(initializer(torch.empty(fan_out, fan_in, dtype=torch.float64), generator=seeded(0)).abs().max())

    assert largest(xavier_uniform_) == pytest.approx(row["value"]["xavier_uniform_bound"], rel=1e-3)
    assert largest(xavier_uniform_) <= row["value"]["xavier_uniform_bound"]
    assert largest(he_uniform_) == pytest.approx(row["value"]["he_uniform_bound"], rel=1e-3)
    assert largest(he_uniform_) <= row["value"]["he_uniform_bound"]


@truth("torch.linear.default_var")
def test_torchs_default_is_a_sixth_of_he(row):
    for n, expected in row["value"].items():
        weight = torch_default_(torch.empty(4096, int(n), dtype=torch.float64), generator=seeded(0))
        assert float(weight.abs().max()) == pytest.approx(expected["bound"], rel=1e-4)
        assert float(weight.square().mean()) == pytest.approx(expected["w_var"], rel=0.01)
        assert float(nn.Linear(int(n), 4096).weight.detach().abs().max()) == pytest.approx(expected["bound"], rel=1e-3)


@truth("fan.conv3x3", "fan.conv7x7s2", "fan.depthwise")
def test_fans_of_the_reference_table(row):
    given = row["inputs"]
    out_channels, in_per_group, *kernel = given["weight_shape"]
    module = nn.Conv2d(
        in_per_group * given["groups"], out_channels, tuple(kernel), stride=given["stride"], groups=given["groups"]
    )
    assert fans(module) == (row["value"]["true_fan_in"], row["value"]["true_fan_out"])
    assert fans(module.weight) == (row["value"]["torch_fan_in"], row["value"]["torch_fan_out"])


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(6, 4),
        nn.Conv1d(6, 4, 3),
        nn.Conv2d(6, 4, 3, padding=1, groups=2),
        nn.Conv2d(6, 4, 4, stride=2, padding=1),
        nn.Conv3d(2, 3, 2, stride=2),
        nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1),
        nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1),
        nn.ConvTranspose2d(6, 4, 3, padding=1, groups=2),
    ],
    ids=str,
)
def test_fans_count_the_terms_that_autograd_sees(module):
    """With all weights 1 and no bias, an output sums fan-in ones, and an input's gradient fan-out ones."""
    module = module.double()
    nn.init.ones_(module.weight)
    nn.init.zeros_(module.bias)
    dims = module.weight.dim() - 2
    x = torch.ones(
        1,
        6 if module.weight.dim() < 5 else 2,
        *[32 if dims < 3 else 16] * dims,
        dtype=torch.float64,
        requires_grad=True,
    )
    y = module(x)
    y.sum().backward()

    def inner(t: torch.Tensor) -> float:  # away from the borders
        return float(t.detach()[(0, 0, *[slice(size // 4, -size // 4) for size in t.shape[2:]])].mean())

    assert (inner(y), inner(x.grad)) == fans(module)


def test_fans_of_a_vector_and_of_other_modules_are_refused():
    with pytest.raises(ValueError, match=r"weight of shape \(3,\)\nexpected"):
        fans(torch.zeros(3))
    with pytest.raises(ValueError, match="without a 0"):
        fans(torch.zeros(3, 0))
    with pytest.raises(TypeError, match="LSTM"):
        fans(nn.LSTM(2, 3))


def test_a_negative_std_is_refused():
    with pytest.raises(ValueError, match="std=-1"):
        normal_(torch.zeros(2, 2), std=-1)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))


def test_initialize_fills_weights_zeroes_biases_and_leaves_the_rest():
    model = network()
    assert initialize_(model, he_normal_, seed=1) is model
    assert float(model[3].weight.detach().std()) == pytest.approx(sqrt(2 / 144), rel=0.1)
    assert not model[0].bias.any()
    assert not model[3].bias.any()
    assert model[1].weight.eq(1).all()


def test_a_seed_means_the_same_network_in_every_dtype():
    single, double = initialize_(network(), he_normal_), initialize_(network().double(), he_normal_)
    assert torch.equal(single[3].weight.double(), double[3].weight)


@pytest.mark.parametrize(
    ("initializer", "error", "message"),
    [
        (lambda weight, *, generator: None, TypeError, "returned NoneType"),
        (lambda weight, *, generator: weight[0], ValueError, "returned shape"),
        ("he", TypeError, "expected a function of a weight"),
    ],
)
def test_a_bad_initializer_is_named_and_the_model_stays_as_it_was(initializer, error, message):
    model = network()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(error, match=message):
        initialize_(model, initializer)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_an_initializer_that_fails_halfway_leaves_the_model_as_it_was():
    calls = []

    def second_fails(weight, *, generator):
        calls.append(weight)
        if len(calls) == 2:
            raise RuntimeError("no luck")
        return weight.zero_()

    model = network()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(RuntimeError, match="no luck"):
        initialize_(model, second_fails)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_a_model_without_weights_is_refused():
    with pytest.raises(ValueError, match="ReLU has no Linear or convolution weight"):
        initialize_(nn.ReLU(), he_normal_)
