"""Initializers keep torch's contract and have the scale that theory gives them."""

from functools import partial
from math import nan, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from d2lstab import (
    INITIALIZERS,
    fans,
    he_normal_,
    initialize_,
    lecun_normal_,
    normal_,
    orthogonal_,
    seeded,
    xavier_normal_,
)
from d2lstab.initializers import (
    delta_orthogonal_,
    gpt2_normal_,
    he_uniform_,
    identity_recurrent_,
    lecun_uniform_,
    lsuv_,
    tied_embedding_,
    torch_default_,
    xavier_uniform_,
)
from d2lstab.initializers.fans import check_weight
from d2lstab.jacobians import input_jacobian
from d2lstab.randomness import normal
from tests.truth import truth

EVERY = INITIALIZERS | {"delta-orthogonal": delta_orthogonal_}
every_initializer = pytest.mark.parametrize("initializer", EVERY.values(), ids=EVERY.keys())


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
        (lecun_uniform_, 1 / 256),
        (partial(lecun_uniform_, gain=3), 9 / 256),
        (he_normal_, 2 / 256),
        (partial(he_normal_, gain=1.5), 2.25 / 256),
        (he_uniform_, 2 / 256),
        (xavier_normal_, 2 / (256 + 512)),
        (xavier_uniform_, 2 / (256 + 512)),
        (torch_default_, 1 / (3 * 256)),
        (orthogonal_, 1 / 512),  # more rows than columns: it is the columns that have length 1
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


@pytest.mark.parametrize("bad", [-1, nan, float("inf")])
def test_a_scale_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match=f"std={bad}\nexpected"):
        normal_(torch.zeros(2, 2), std=bad)
    for initializer in (lecun_normal_, lecun_uniform_, he_normal_, he_uniform_):
        with pytest.raises(ValueError, match=f"gain={bad}\nexpected"):
            initializer(torch.zeros(2, 2), gain=bad)


@every_initializer
def test_a_vector_is_refused_by_all_that_need_fans(initializer):
    if initializer in (normal_, INITIALIZERS["N(0, 0.01²)"]):
        assert initializer(torch.zeros(3), generator=seeded(0)).any()
    else:
        with pytest.raises(ValueError):
            initializer(torch.zeros(3), generator=seeded(0))


# Orthogonal


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.1, 10), st.integers(0, 9))
def test_the_shorter_side_of_an_orthogonal_weight_is_orthonormal(rows, columns, gain, seed):
    for initializer in (orthogonal_, delta_orthogonal_):
        weight = initializer(torch.empty(rows, columns, dtype=torch.float64), gain=gain, generator=seeded(seed))
        values = torch.linalg.svdvals(weight)
        torch.testing.assert_close(values, torch.full_like(values, gain))


@pytest.mark.parametrize("shape", [(5, 3, 3), (4, 4, 3, 3), (3, 6, 5, 5), (4, 4, 3, 1)], ids=str)
def test_a_delta_orthogonal_convolution_is_an_isometry_borders_included(shape):
    out, into, *kernel = shape
    kind = {1: nn.Conv1d, 2: nn.Conv2d}[len(kernel)]
    conv = kind(into, out, tuple(kernel), padding=tuple(k // 2 for k in kernel), bias=False, dtype=torch.float64)
    assert delta_orthogonal_(conv.weight, gain=2.0, generator=seeded(0)) is conv.weight
    x = normal(1, into, *[6] * len(kernel), generator=seeded(1), dtype=torch.float64)
    values = torch.linalg.svdvals(input_jacobian(conv, x)[0])
    torch.testing.assert_close(values, torch.full_like(values, 2.0))
    middle = (slice(None), slice(None), *[k // 2 for k in kernel])
    assert conv.weight.count_nonzero() == conv.weight[middle].numel()


def test_a_flattened_orthogonal_kernel_keeps_the_second_moment_but_is_no_isometry():
    conv = nn.Conv2d(32, 32, 3, bias=False)
    orthogonal_(conv.weight, generator=seeded(0))
    torch.testing.assert_close(conv.weight.square().sum((1, 2, 3)), torch.ones(32))
    kept = conv(normal(32, 32, 12, 12, generator=seeded(1))).detach().square().mean()
    # Rows of length 1 give every output the variance of an input; 102,400 outputs, nine of them overlapping.
    assert float(kept) == pytest.approx(1, abs=4 * sqrt(2 * 9 / 102_400))
    values = torch.linalg.svdvals(input_jacobian(conv, normal(1, 32, 5, 5, generator=seeded(2)))[0])
    assert values.max() > 1.2 * values.min()


# Models


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))


def test_initialize_fills_weights_zeroes_biases_and_leaves_the_rest():
    model = network()
    assert initialize_(model, he_normal_, seed=1) is model
    assert float(model[3].weight.detach().std()) == pytest.approx(sqrt(2 / 144), rel=0.1)
    assert not model[0].bias.any()
    assert not model[3].bias.any()
    assert model[1].weight.eq(1).all()


@pytest.mark.parametrize("initializer", [he_normal_, he_uniform_, partial(orthogonal_, gain=sqrt(2))])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(256, 256),
        nn.Conv2d(64, 64, 3, groups=4),
        nn.Conv2d(64, 128, 3, stride=2, groups=64),
        nn.ConvTranspose1d(128, 64, 4, stride=2),
        nn.ConvTranspose2d(64, 64, 4, stride=2),
        nn.ConvTranspose2d(64, 64, 3, stride=2),
        nn.ConvTranspose2d(64, 64, (4, 2), stride=(2, 1), groups=2),
    ],
    ids=str,
)
def test_initialize_keeps_the_second_moment_through_relu_in_every_layer(layer, initializer):
    if isinstance(layer, nn.Conv2d) and layer.out_channels > layer.in_channels:
        pytest.skip("a group with more outputs than inputs")
    z = normal(64, 256, generator=seeded(1))
    if not isinstance(layer, nn.Linear):
        dims = layer.weight.dim() - 2
        z = normal(8, layer.in_channels, *[16] * dims, generator=seeded(1))
    y = initialize_(layer, initializer)(z.relu()).detach()
    y = y[(..., *[slice(4, -4)] * (y.dim() - 2))]  # away from the borders
    # The mean of a ReLU is 1/π of its second moment, and one sum per output channel carries it.
    assert float(y.square().mean()) == pytest.approx(1, abs=4 * sqrt(2 / 64) / 3.14)


def test_each_phase_of_a_transposed_convolution_has_its_own_fan():
    layer = initialize_(nn.ConvTranspose2d(64, 64, 3, stride=2), lecun_normal_)
    for row, column, taps in ((0, 0, 4), (0, 1, 2), (1, 0, 2), (1, 1, 1)):
        phase = layer.weight[:, :, row::2, column::2]
        assert phase[0, 0].numel() == taps
        assert float(phase.detach().square().mean()) == pytest.approx(1 / (64 * taps), rel=5 * sqrt(2 / phase.numel()))


def test_a_kernel_smaller_than_its_stride_leaves_no_weight_unfilled():
    layer = initialize_(nn.ConvTranspose2d(4, 4, 2, stride=3), he_normal_)
    assert layer.weight.all()


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


@pytest.mark.parametrize(
    "act", [initialize_, lambda model, _: lsuv_(model, torch.ones(2, 3))], ids=["initialize_", "lsuv_"]
)
def test_a_weight_that_is_not_the_layers_own_is_refused(act):
    for layer in (nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), nn.LazyLinear(3)):
        with pytest.raises(ValueError, match="parametrized or not made yet\nexpected a parameter"):
            act(nn.Sequential(layer), he_normal_)


# LSUV


def sizes(model: nn.Module, inputs: torch.Tensor) -> list[float]:
    """The second moment of the output of each layer with a weight, in the order of execution."""
    found = []
    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))]
    hooks = [
        layer.register_forward_hook(lambda *call: found.append(float(call[2].square().mean()))) for layer in layers
    ]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    return found


def mixed() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.ConvTranspose2d(8, 4, 2, stride=2),
            nn.Tanh(), nn.Flatten(), nn.Linear(4 * 144, 5),
        )  # fmt: skip


images = 3 + normal(16, 3, 8, 8, generator=seeded(5))


def everything(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("f", [nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.Hardtanh()], ids=str)
def test_lsuv_gives_every_output_size_one(f):
    model = nn.Sequential(nn.Linear(9, 30), f, nn.Linear(30, 20), f, nn.Linear(20, 4))
    inputs = 100 * normal(64, 9, generator=seeded(0))
    assert lsuv_(model, inputs) is model
    assert sizes(model, inputs) == pytest.approx([1, 1, 1], abs=0.01)
    weight = model[0].weight.detach()
    assert torch.linalg.cond(weight) == pytest.approx(1, abs=1e-4)  # orthonormal up to its scale


def test_lsuv_needs_one_round_where_no_bias_has_a_say():
    model = nn.Sequential(nn.Linear(9, 30, bias=False), nn.ReLU(), nn.Linear(30, 4, bias=False))
    inputs = 100 * normal(64, 9, generator=seeded(0))
    lsuv_(model, inputs, tolerance=1e-5, max_rounds=1)
    assert sizes(model, inputs) == pytest.approx([1, 1], abs=1e-5)


def test_lsuv_takes_the_second_moment_and_not_the_variance():
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    inputs = torch.tensor([[2.0], [4.0]])
    lsuv_(model, inputs, tolerance=1e-6)
    assert float(model[0].weight.detach().abs()) == pytest.approx(1 / sqrt(10), rel=1e-6)


def test_lsuv_changes_nothing_but_weights():
    model = mixed().eval()
    model[1].train()
    kept = everything(model)
    seen = []
    handle = model[0].register_forward_hook(lambda *call: seen.append(call[2].square().mean()))
    hooks, random = dict(model[0]._forward_hooks), torch.get_rng_state()
    buffers = dict(model.named_buffers())
    lsuv_(model, images)
    after = everything(model)
    changed = {name for name in kept if not torch.equal(kept[name], after[name])}
    assert changed == {"0.weight", "4.weight", "7.weight"}
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not model.training and model[1].training
    assert torch.equal(random, torch.get_rng_state())
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())
    assert all(dict(layer._forward_hooks) == (hooks if layer is model[0] else {}) for layer in model.modules())
    assert len(seen) == 1 and float(seen[0]) == pytest.approx(1, abs=0.01)  # the user's hook sees what comes out
    handle.remove()


def test_lsuv_is_the_same_twice_and_its_seed_counts():
    once, twice, other = (lsuv_(mixed().eval(), images, seed=seed)[0].weight for seed in (0, 0, 1))
    assert torch.equal(once, twice) and not torch.equal(once, other)


def test_lsuv_works_in_the_dtype_of_the_model():
    model = lsuv_(mixed().double().eval(), images.double())
    assert model[0].weight.dtype == torch.float64
    assert sizes(model, images.double()) == pytest.approx([1, 1, 1], abs=0.01)


class OutOfOrder(nn.Module):
    """Defined in another order than called, one layer twice, one never, two with one weight."""

    def __init__(self):
        super().__init__()
        self.last, self.unused, self.twice, self.first = (nn.Linear(6, 6, bias=False) for _ in range(4))
        self.tied = nn.Linear(6, 6, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x, factor=1.0):
        return self.last(torch.tanh(self.tied(self.twice(torch.relu(self.twice(self.first(5 * x)))))))


def test_lsuv_follows_the_order_of_execution_and_scales_a_weight_once():
    model, inputs = OutOfOrder(), normal(128, 6, generator=seeded(0))
    unused = model.unused.weight.detach().clone()
    lsuv_(model, inputs, tolerance=1e-4)
    first, twice, _, tied, last = sizes(model, inputs)
    assert [first, twice, last] == pytest.approx([1, 1, 1], abs=1e-3)
    assert abs(tied - 1) > 0.05
    assert torch.equal(unused, model.unused.weight)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (nn.Sequential(nn.ReLU()), torch.ones(2, 3), "Sequential has no Linear or convolution weight"),
        (nn.Linear(3, 3), torch.ones(0, 3), r"inputs of shape \(0, 3\)\nexpected a batch"),
        (nn.Linear(3, 3), None, "inputs of type NoneType\nexpected a batch"),
        (nn.Bilinear(3, 3, 3), (torch.ones(2, 3),) * 2, "inputs of type tuple\nexpected .*, one tensor"),
        (nn.Linear(3, 3), torch.ones(2, 4), r"inputs of shape \(2, 4\), torch.float32\nexpected ones that fit"),
        (nn.Linear(3, 3), torch.ones(2, 3).double(), "torch.float64\nexpected ones that fit"),
        (nn.Linear(3, 3, bias=False), torch.zeros(2, 3), "layer '' is dead: its output is 0 "),
        (nn.Linear(3, 3), torch.zeros(2, 3), "layer '' is dead: its output is its bias"),
        (nn.Linear(3, 3), torch.full((2, 3), nan), "layer '' is dead: its output is not finite"),
        (nn.Linear(3, 3), torch.full((2, 3), float("inf")), "is not finite"),
        (nn.Sequential(nn.Linear(3, 3), nn.Threshold(99.0, 0.0), nn.Linear(3, 2, bias=False)), torch.ones(2, 3), "'2' is dead"),
    ],
)  # fmt: skip
def test_lsuv_refuses_what_cannot_be_scaled_and_restores_the_weights(model, inputs, message):
    before = everything(model)
    with pytest.raises(ValueError, match=message):
        lsuv_(model, inputs)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("given", "message"),
    [({"tolerance": 0}, "tolerance=0"), ({"tolerance": nan}, "tolerance=nan"), ({"max_rounds": 0}, "max_rounds=0"), ({"seed": -1}, "seed=-1")],
)  # fmt: skip
def test_lsuv_refuses_settings_that_are_none(given, message):
    with pytest.raises(ValueError, match=message):
        lsuv_(nn.Linear(3, 3), torch.ones(2, 3), **given)


def test_lsuv_gives_up_after_its_rounds_where_a_bias_is_too_large():
    model = nn.Sequential(nn.Linear(3, 3))
    nn.init.constant_(model[0].bias, 2.0)
    before, calls = everything(model), []
    counted = model[0].forward
    model[0].forward = lambda x: calls.append(1) or counted(x)
    with pytest.raises(ValueError, match="after 4 rounds\nexpected 1 ± 0.01: a smaller bias"):
        lsuv_(model, normal(64, 3, generator=seeded(0)), max_rounds=4)
    assert len(calls) == 1 + 5  # the forward pass itself, then a look before each round and one after the last
    assert torch.equal(before["0.weight"], model[0].weight)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_lsuv_cleans_up_whatever_is_raised(error):
    class Stops(nn.Module):
        def forward(self, x):
            raise error("enough")

    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(), Stops())
    before, random = everything(model), torch.get_rng_state()
    with pytest.raises(ValueError if error is RuntimeError else error, match="enough"):
        lsuv_(model, normal(8, 3, generator=seeded(0)))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(random, torch.get_rng_state())


def test_lsuv_says_so_where_no_layer_is_called():
    class Borrows(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            return F.linear(x, self.inner.weight)

    with pytest.raises(ValueError, match="Borrows calls none of its layers"):
        lsuv_(Borrows(), torch.ones(2, 3))


SCALED = {
    "normal_": ("std", normal_),
    "lecun_normal_": ("gain", lecun_normal_),
    "lecun_uniform_": ("gain", lecun_uniform_),
    "he_normal_": ("gain", he_normal_),
    "he_uniform_": ("gain", he_uniform_),
    "xavier_normal_": ("gain", xavier_normal_),
    "xavier_uniform_": ("gain", xavier_uniform_),
    "orthogonal_": ("gain", orthogonal_),
    "delta_orthogonal_": ("gain", delta_orthogonal_),
    "identity_recurrent_": ("scale", identity_recurrent_),
    "tied_embedding_": ("logit_std", tied_embedding_),
}


@pytest.mark.parametrize("value", [torch.nan, torch.inf, "relu", None, True, 1j])
@pytest.mark.parametrize(("name", "initializer"), SCALED.values(), ids=SCALED)
def test_a_scale_that_is_no_number_is_refused_before_anything_is_written(name, initializer, value):
    weight = torch.full((3, 3), 7.0)
    with pytest.raises(ValueError, match=r"=.*\nexpected a finite number"):
        initializer(weight, **{name: value})
    assert (weight == 7).all()


def test_orthogonal_and_xavier_are_torchs_own():
    for own, torchs in (
        (orthogonal_, "orthogonal_"),
        (xavier_normal_, "xavier_normal_"),
        (xavier_uniform_, "xavier_uniform_"),
    ):
        expected = getattr(nn.init, torchs)(torch.empty(4, 3, 2), gain=1.5, generator=seeded(3))
        assert torch.equal(own(torch.empty(4, 3, 2), gain=1.5, generator=seeded(3)), expected)
        assert torch.equal(own(torch.empty(4, 3, 2), 1.5, seeded(3)), expected)


def test_the_habit_of_transformers_has_one_scale_at_any_width():
    for width in (64, 1024):
        weight = gpt2_normal_(torch.empty(1000, width), generator=seeded(0))
        assert float(weight.std()) == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(
    ("weight", "told"),
    [(torch.ones(2, 2, dtype=torch.long), "torch.int64"), ([[1.0]], "type list"), ("weight", "type str")],
)
def test_what_cannot_be_filled_is_told_by_its_kind(weight, told):
    with pytest.raises(TypeError, match=told):
        check_weight(weight)
