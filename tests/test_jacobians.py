"""The product of layer Jacobians is the gradient, and whoever asks for it gets the network back untouched."""

import math
from functools import partial
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from d2lstab import he_normal_, isometry, lecun_normal_, mlp, orthogonal_, seeded, xavier_normal_
from d2lstab.jacobians import Spectrum, chain, input_jacobian, layer_jacobians, singular_values
from d2lstab.randomness import normal
from tests.truth import truth

F64 = torch.float64


def x_of(*shape: int, seed: int = 0) -> torch.Tensor:
    return normal(*shape, generator=seeded(seed), dtype=F64)


def seeded_module(make) -> nn.Module:
    """A float64 module whose random start is the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double()


def by_autograd(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The oracle: one example at a time, one output at a time, without this package."""
    network.eval()
    rows = []
    for example in x:
        leaf = example.clone().requires_grad_()
        outputs = network(leaf.clone()[None]).flatten()
        gradients = [torch.autograd.grad(o, leaf, retain_graph=True)[0].flatten() for o in outputs]
        rows.append(torch.stack(gradients))
    return torch.stack(rows)


def linear_network(matrices) -> nn.Sequential:
    layers = []
    for matrix in matrices:
        layer = nn.utils.skip_init(nn.Linear, matrix.shape[1], matrix.shape[0], bias=False, dtype=F64)
        layer.weight.data.copy_(matrix)
        layers.append(layer)
    return nn.Sequential(*layers)


# By hand


def test_the_jacobian_of_a_linear_layer_is_its_weight():
    weights = [x_of(3, 2), x_of(4, 3, seed=1)]
    for jacobian, weight in zip(layer_jacobians(linear_network(weights), x_of(2)), weights):
        torch.testing.assert_close(jacobian, weight, rtol=0, atol=0)


def test_the_jacobian_of_a_tanh_layer_is_slope_times_weight():
    network = mlp([3, 4, 2], torch.tanh, initializer=xavier_normal_, dtype=F64)
    x, weight = x_of(3), network.layer1.linear.weight.detach()
    slope = 1 - torch.tanh(weight @ x) ** 2
    torch.testing.assert_close(layer_jacobians(network, x)[0], slope[:, None] * weight)


def test_a_relu_keeps_the_rows_of_its_active_units_and_zeroes_the_others():
    network = linear_network([torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0]], dtype=F64)])
    x = torch.tensor([2.0, 5.0], dtype=F64)
    expected = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 3.0]], dtype=F64)
    assert torch.equal(input_jacobian(nn.Sequential(network, nn.ReLU()), x), expected)


def test_a_layer_that_ignores_its_input_has_the_jacobian_zero():
    class Constant(nn.Module):
        def forward(self, h):
            return torch.ones(len(h), 2, dtype=h.dtype)

    assert torch.equal(input_jacobian(Constant(), x_of(5, 3)), torch.zeros(5, 2, 3, dtype=F64))


def test_an_output_without_features_is_one_row():
    class Sum(nn.Module):
        def forward(self, h):
            return h.square().sum(-1)

    x = x_of(4, 3)
    torch.testing.assert_close(input_jacobian(Sum(), x), 2 * x[:, None])


# Law and oracle

PICTURES = [
    lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(75, 4)),
    lambda: nn.Sequential(nn.Conv2d(2, 2, 3, stride=2), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Flatten()),
    lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.GroupNorm(3, 3), nn.AdaptiveAvgPool2d(1)),
]
VECTORS = [
    lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3, bias=False)),
    lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 5), nn.ReLU(inplace=True)),
    lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.PReLU(), nn.Linear(8, 3)),
    lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.Softmax(-1)),
    lambda: mlp([6, 7, 5, 3], torch.tanh, initializer=xavier_normal_),
]


@pytest.mark.parametrize("make", VECTORS)
def test_the_product_of_the_layer_jacobians_is_autograds_jacobian(make):
    network, x = seeded_module(make), x_of(4, 6)
    expected = by_autograd(network, x)
    torch.testing.assert_close(chain(layer_jacobians(network, x))[0], expected)
    torch.testing.assert_close(input_jacobian(network, x), expected)


@pytest.mark.parametrize("make", PICTURES)
def test_layers_of_pictures_have_flattened_jacobians_that_multiply(make):
    network, x = seeded_module(make), x_of(3, 2, 5, 5)
    expected = by_autograd(network, x)
    assert expected.shape[-1] == 50
    torch.testing.assert_close(chain(layer_jacobians(network, x))[0], expected)
    torch.testing.assert_close(input_jacobian(network, x), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.TransformerEncoderLayer(4, 2, dim_feedforward=8, dropout=0.0, batch_first=True),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)),
    ],
)
def test_modules_of_torch_that_are_more_than_layers_agree_with_autograd(make):
    network, x = seeded_module(make), x_of(2, 3, 4)
    torch.testing.assert_close(input_jacobian(network, x), by_autograd(network, x))


def test_a_recurrent_module_and_an_autograd_function_of_ones_own_agree_with_autograd():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z**2

        @staticmethod
        def backward(ctx, gradient):
            (z,) = ctx.saved_tensors
            return 2 * z * gradient

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTM(4, 3, batch_first=True)

        def forward(self, h):
            return Square.apply(self.cell(h)[0])

    network, x = seeded_module(Own), x_of(2, 5, 4)
    torch.testing.assert_close(input_jacobian(network, x), by_autograd(network, x))


def test_the_gradient_of_a_weight_is_the_product_above_it_times_its_own_derivative():
    network, x = mlp([5, 4, 4, 3], torch.tanh, initializer=xavier_normal_, dtype=F64), x_of(5)
    products, h = chain(layer_jacobians(network, x)), x
    for layer, product in zip(network, products[1:]):
        weight = next(layer.parameters())
        expected = torch.stack([torch.autograd.grad(o, weight, retain_graph=True)[0] for o in network(x)])
        z, new = (weight @ h).detach(), layer(h).detach()
        slope = torch.ones_like(z) if layer is network.output else 1 - new**2
        torch.testing.assert_close((product * slope)[:, :, None] * h, expected)
        h = new


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 5))
def test_the_chain_rule_holds_for_any_widths(widths, batch):
    network = mlp(widths, torch.tanh, initializer=xavier_normal_, seed=batch, dtype=F64)
    x = x_of(batch, widths[0], seed=1) if batch else x_of(widths[0], seed=1)
    products = chain(layer_jacobians(network, x))
    assert [product.shape[-1] for product in products] == widths
    torch.testing.assert_close(products[0], input_jacobian(network, x))


def test_an_example_has_the_same_jacobian_alone_and_in_company():
    network, x = mlp([4, 6, 3], torch.tanh, initializer=xavier_normal_, dtype=F64), x_of(5, 4)
    together = layer_jacobians(network, x)
    for index, example in enumerate(x):
        for one, many in zip(layer_jacobians(network, example), together):
            assert one.shape == many.shape[1:]
            torch.testing.assert_close(one, many[index])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_jacobian_has_the_dtype_of_the_network(dtype):
    network = mlp([3, 4, 2], torch.tanh, initializer=xavier_normal_, dtype=dtype)
    assert input_jacobian(network, x_of(3).to(dtype)).dtype == dtype
    assert isometry(network, x_of(3).to(dtype)).singular_values.dtype == F64


def test_jacobians_are_there_in_no_grad_and_inference_mode_and_carry_no_graph():
    network = mlp([3, 4, 2], torch.tanh, initializer=xavier_normal_, dtype=F64)
    for x in (x_of(3), x_of(5, 3)):
        expected = input_jacobian(network, x)
        assert not expected.requires_grad
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                assert torch.equal(input_jacobian(network, x.clone()), expected)
        assert input_jacobian(network, x.clone().requires_grad_()).grad_fn is None


# The caller's network


class Caching(nn.Module):
    """Keeps a tensor of its last forward pass and counts its calls, as research code does."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.seen, self.count = None, 0

    def forward(self, h):
        self.calls += 1
        self.count += 1
        self.seen = self.linear(h)
        return self.seen


class Drawing(nn.Module):
    """Draws from torch's global stream in every mode."""

    def forward(self, h):
        return h * torch.rand_like(h)


class Broken(nn.Module):
    def forward(self, h):
        torch.rand(1)
        raise ArithmeticError("inside")


def lived_in() -> nn.Sequential:
    """A network with statistics, gradients, a cache with a graph, a frozen weight, mixed modes and hooks."""
    network = seeded_module(
        lambda: nn.Sequential(
            nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU(inplace=True), Caching(), nn.Linear(4, 2)
        )
    )
    network.train()
    with torch.random.fork_rng():
        network(x_of(8, 4)).square().sum().backward()
    network[1].eval()
    network[5].weight.requires_grad_(False)
    return network


def photograph(network: nn.Module) -> list:
    """All that a caller could notice: values, identities, modes, attributes, hooks, the global random stream."""
    seen = [torch.get_rng_state()]
    for module in network.modules():
        attributes = {key: value for key, value in vars(module).items()}
        seen.append({key: id(value) for key, value in attributes.items() if not key.startswith("_")})
        seen.append({key: list(attributes[key].items()) for key in sorted(attributes) if key.endswith("hooks")})
        seen.append([(id(p), p.requires_grad, p.detach().clone(), p.grad is None) for p in module.parameters(False)])
        seen.append([p.grad.clone() for p in module.parameters(False) if p.grad is not None])
        seen.append([(id(b), b.clone()) for b in module.buffers(False)])
    return seen


def assert_same(before, after):
    assert type(before) is type(after)
    if isinstance(before, torch.Tensor):
        assert torch.equal(before, after)
    elif isinstance(before, (list, tuple)):
        assert len(before) == len(after)
        for one, other in zip(before, after):
            assert_same(one, other)
    else:
        assert before == after


ASK = [layer_jacobians, input_jacobian, isometry]


@pytest.mark.parametrize("ask", ASK)
def test_the_network_and_the_random_stream_are_left_bit_for_bit_as_they_were(ask):
    network, x = lived_in(), x_of(3, 4)
    calls = []
    network[0].register_forward_hook(lambda *_: calls.append("forward"))
    network[0].register_full_backward_hook(lambda *_: calls.append("backward"))
    before, input_before = photograph(network), x.clone()
    ask(network, x)
    assert_same(before, photograph(network))
    assert torch.equal(x, input_before)
    assert x.grad is None
    assert calls == ["forward"]


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize(("last", "error"), [(Broken(), ArithmeticError), (nn.Linear(9, 2).double(), ValueError)])
def test_the_network_is_left_as_it_was_when_something_raises_inside(ask, last, error):
    network = lived_in().append(last)
    before = photograph(network)
    with pytest.raises(error):
        ask(network, x_of(3, 4))
    assert_same(before, photograph(network))


def test_the_network_is_left_as_it_was_when_the_backward_pass_raises():
    class Refusing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return z.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise ArithmeticError("backwards")

    class Layer(nn.Module):
        def forward(self, h):
            return Refusing.apply(h)

    network = lived_in().append(Layer())
    before = photograph(network)
    with pytest.raises(ArithmeticError, match="backwards"):
        input_jacobian(network, x_of(3, 4))
    assert_same(before, photograph(network))


def test_an_attribute_that_the_forward_pass_creates_is_not_left_behind():
    class Late(nn.Module):
        def forward(self, h):
            self.last = h
            return h

    layer = Late()
    input_jacobian(layer, x_of(2, 3))
    assert not hasattr(layer, "last")


def test_a_module_that_draws_in_eval_mode_does_not_move_the_global_stream():
    before = torch.get_rng_state()
    input_jacobian(Drawing(), x_of(2, 3))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_answer_is_the_same_and_its_stream_is_not_moved():
    network, x = mlp([4, 6, 3], torch.tanh, initializer=xavier_normal_, dtype=F64), x_of(5, 4)
    expected, before = isometry(network, x).singular_values, torch.cuda.get_rng_state()
    moved = nn.Sequential(*network, Drawing()).cuda()
    input_jacobian(moved, x.cuda())
    assert torch.equal(before, torch.cuda.get_rng_state())
    torch.testing.assert_close(isometry(moved[:-1], x.cuda()).singular_values.cpu(), expected)


def test_modes_are_as_they_come_and_statistics_of_a_batch_are_refused():
    network, x = seeded_module(VECTORS[2]), x_of(4, 6)
    network.train()
    network[2].p = 0.0  # else it may leave nothing of the first example, on which the others act
    with pytest.raises(ValueError, match=r"act on one another\nexpected .* eval mode, network.eval\(\)"):
        isometry(network, x)
    assert network.training
    network[1].eval()
    network[2].p = 0.999  # of 8 units next to none is left
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert (input_jacobian(network, x) == 0).float().mean() > 0.5


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("call", [isometry, input_jacobian, lambda network, x: layer_jacobians(network, x)])
def test_inputs_that_are_not_finite_are_refused(call, value):
    x = x_of(4, 6)
    x[1, 2] = value
    with pytest.raises(ValueError, match=r"inputs with 1 of 24 entries infinite or NaN\nexpected finite"):
        call(nn.Sequential(nn.Linear(6, 3, dtype=F64), nn.ReLU()), x)


def test_the_jacobian_of_an_example_that_became_nan_is_nan_and_of_no_other():
    class Log(nn.Module):
        def forward(self, x):
            return x.log()

    x = torch.tensor([[3.0, 2.0], [-1.0, 2.0]], dtype=F64)
    logs, rectified = layer_jacobians([Log(), nn.ReLU()], x)
    assert logs[1].isnan().all()
    assert rectified[1].isnan().all()
    assert logs[0].isfinite().all()
    assert rectified[0].isfinite().all()
    spectrum = isometry(nn.Sequential(Log(), nn.ReLU()), x)
    assert spectrum.singular_values.isnan().any(-1).tolist() == [False, True]


def test_the_jacobian_of_a_constant_nan_is_nan():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.full_like(x, torch.nan).detach()

    assert input_jacobian(Constant(), x_of(2, 3)).isnan().all()


def test_a_layer_used_twice_counts_twice():
    layer = linear_network([x_of(3, 3)])[0]
    first, second = layer_jacobians([layer, layer], x_of(3))
    assert torch.equal(first, second)
    torch.testing.assert_close(chain([first, second])[0], layer.weight.detach() @ layer.weight.detach())


# chain, singular values, Spectrum


def test_chain_ends_in_the_identity_and_starts_with_the_whole_product():
    a, b, c = x_of(3, 2), x_of(4, 3, seed=1), x_of(5, 4, seed=2)
    products = chain([a, b, c])
    for product, expected in zip(products, [c @ b @ a, c @ b, c, torch.eye(5, dtype=F64)]):
        torch.testing.assert_close(product, expected)
    batched = chain([a.expand(7, 3, 2), b.expand(7, 4, 3)])
    assert [tuple(product.shape) for product in batched] == [(7, 4, 2), (7, 4, 3), (7, 4, 4)]


@pytest.mark.parametrize("scalar", [torch.ones(()), np.ones(())])
def test_a_scalar_is_no_list_of_jacobians(scalar):
    with pytest.raises(TypeError, match="jacobians of .*\nexpected a list"):
        chain(scalar)


def test_chain_takes_any_iterable():
    assert torch.equal(chain(m for m in [x_of(2, 2)])[0], x_of(2, 2))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 100))
def test_singular_values_square_to_the_eigenvalues_of_the_gram_matrix(rows, columns, seed):
    matrix = x_of(rows, columns, seed=seed)
    values = singular_values(matrix)
    assert values.shape == (min(rows, columns),)
    gram = matrix @ matrix.mT if rows <= columns else matrix.mT @ matrix
    torch.testing.assert_close(values.square(), torch.linalg.eigvalsh(gram).flip(0), rtol=1e-7, atol=1e-10)
    assert (values.diff() <= 0).all()


def test_what_rounding_swallows_is_nan_and_what_it_does_not_is_kept():
    for dtype, kept, lost in [(torch.float32, 1e-4, 1e-9), (F64, 1e-9, 1e-18)]:
        values = singular_values(torch.tensor([1.0, kept, lost], dtype=dtype).diag())
        torch.testing.assert_close(values[:2], torch.tensor([1.0, kept], dtype=F64), rtol=1e-6, atol=0)
        assert values[2].isnan()


def test_a_matrix_of_zeros_has_singular_values_zero():
    assert torch.equal(singular_values(torch.zeros(2, 3)), torch.zeros(2, dtype=F64))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_matrix_that_is_not_finite_has_no_singular_values_and_spoils_no_other(bad):
    matrices = x_of(3, 2, 2)
    expected = singular_values(matrices)
    matrices[1, 0, 0] = bad
    values = singular_values(matrices)
    assert values[1].isnan().all()
    assert torch.equal(values[[0, 2]], expected[[0, 2]])


def test_a_spectrum_by_hand():
    spectrum = Spectrum(torch.tensor([[3.0, 1.0], [2.0, 2.0]], dtype=F64))
    assert spectrum.mean_square.tolist() == [5, 4]
    assert spectrum.spread.tolist() == [16 / 25, 0]
    assert spectrum.condition.tolist() == [3, 1]


def test_a_lost_singular_value_counts_as_nothing_in_the_mean_and_hides_the_condition():
    spectrum = Spectrum(singular_values(torch.tensor([2.0, 1e-30], dtype=F64).diag()))
    assert float(spectrum.mean_square) == pytest.approx(2)
    assert spectrum.condition.isnan()
    overflown = Spectrum(singular_values(torch.tensor([[math.inf]])))
    assert overflown.mean_square.isnan()
    assert overflown.spread.isnan()


def test_the_picture_of_a_spectrum_says_what_it_leaves_out():
    whole = Spectrum(torch.tensor([2.0, 1.0])).plot()
    assert not whole.texts
    ax = Spectrum(torch.tensor([2.0, 1.0, 0.0, math.nan])).plot(label="a network")
    assert ax.texts[0].get_text().startswith("2 of 4 not shown")
    assert ax.get_xlabel() == "log₁₀ singular value"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a network"]


# Theory


@truth("iso.orthogonal")
def test_a_product_of_scaled_orthogonal_layers_has_equal_singular_values(row):
    depth = row["inputs"]["L"]
    matrices = [orthogonal_(torch.empty(16, 16, dtype=F64), generator=seeded(seed)) for seed in range(depth)]
    for gain in row["inputs"]["g"]:
        spectrum = isometry(linear_network([gain * matrix for matrix in matrices]), x_of(16))
        expected = torch.full((16,), row["value"][str(gain)], dtype=F64)
        torch.testing.assert_close(spectrum.singular_values, expected, rtol=row["tolerance"]["rel"], atol=0)
        assert float(spectrum.condition) == pytest.approx(1, abs=1e-9)
        assert float(spectrum.spread) < 1e-18


@truth("iso.fusscatalan.L1", "iso.fusscatalan.L10")
def test_wide_gaussian_linear_networks_have_fuss_catalan_spectra(row):
    depth, width, draws = row["inputs"]["L"], 200, 12
    spread, largest = [], []
    for seed in range(draws):
        generator = seeded(seed)
        matrices = [normal(width, width, generator=generator, dtype=F64) / width**0.5 for _ in range(depth)]
        spectrum = Spectrum(singular_values(chain(matrices)[0]))
        spread.append(spectrum.spread)
        largest.append(spectrum.singular_values[0] ** 2 / spectrum.mean_square)
    spread, edge = torch.stack(spread), row["value"]["smax_sq"]
    assert float(spread.mean()) == pytest.approx(row["value"]["var_s_sq"], abs=4 * float(spread.std()) / draws**0.5)
    assert 0.75 * edge < float(torch.stack(largest).mean()) < edge  # a finite width comes to the edge from below


# Bad input


@pytest.mark.parametrize(
    ("network", "x", "error", "says"),
    [
        (nn.Linear(3, 2), torch.zeros(3), TypeError, "model of type Linear"),
        (3, torch.zeros(3), TypeError, "model of type int"),
        ([], torch.zeros(3), ValueError, "no layer"),
        ([nn.Linear(3, 2), torch.tanh], torch.zeros(3), TypeError, "Linear, builtin_function_or_method"),
        ([nn.Linear(3, 2)], torch.zeros(4), ValueError, r"layer 0, Linear.*\(1, 4\)"),
        ([nn.Linear(3, 2), nn.Linear(3, 2)], torch.zeros(5, 3), ValueError, r"layer 1, Linear.*\(5, 2\)"),
        ([nn.Linear(3, 2)], torch.zeros(3, dtype=F64), ValueError, "float64"),
        ([nn.Conv2d(1, 1, 3)], torch.zeros(64), ValueError, r"layer 0, Conv2d.*\(1, 64\)"),
        ([nn.Linear(3, 2)], torch.zeros(3, dtype=torch.long), ValueError, "int64"),
        ([nn.Linear(3, 2)], torch.zeros(()), ValueError, r"shape \(\)"),
        ([nn.Linear(3, 2)], torch.zeros(0, 3), ValueError, r"shape \(0, 3\)"),
        ([nn.Linear(3, 2)], [1.0, 2.0, 3.0], ValueError, "type list"),
        ([nn.LSTM(3, 2)], torch.zeros(3), TypeError, "returned tuple"),
        ([nn.BatchNorm1d(3, track_running_stats=False)], torch.ones(3), ValueError, "BatchNorm1d"),
    ],
)
def test_what_cannot_be_differentiated_is_named(network, x, error, says):
    with pytest.raises(error, match=f"(?s){says}.*\nexpected"):
        layer_jacobians(network, x)


def test_examples_that_act_on_one_another_have_no_jacobians_of_their_own():
    network = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)).double()
    with pytest.raises(ValueError, match="layer 0, BatchNorm1d.*act on one another\nexpected"):
        layer_jacobians(network, x_of(5, 4))
    with pytest.raises(ValueError, match="layer 1, Flatten.*made shape .10,. of .5, 2.\nexpected"):
        layer_jacobians([nn.Linear(4, 2).double(), nn.Flatten(0)], x_of(5, 4))


@pytest.mark.parametrize(
    ("jacobians", "says"),
    [
        ([], "none"),
        ([torch.zeros(3)], r"\(3,\)"),
        ([torch.zeros(4, 3), torch.zeros(5, 3)], r"\(4, 3\).*3 inputs"),
    ],
)
def test_jacobians_that_do_not_multiply_are_refused(jacobians, says):
    with pytest.raises(ValueError, match=f"{says}.*\nexpected"):
        chain(jacobians)


@pytest.mark.parametrize("matrix", [torch.zeros(3), torch.zeros(2, 2, dtype=torch.long)])
def test_singular_values_of_what_is_no_matrix_are_refused(matrix):
    with pytest.raises(ValueError, match="(?s)matrix of shape.*\nexpected"):
        singular_values(matrix)


@pytest.mark.parametrize(
    ("initializer", "activation", "per_layer"),
    [
        (lecun_normal_, nn.Identity(), 1),
        (orthogonal_, nn.Identity(), 0),
        (he_normal_, torch.relu, 2),
        (partial(orthogonal_, gain=sqrt(2)), torch.relu, 1),
    ],
    ids=["Gaussian linear", "orthogonal linear", "Gaussian ReLU", "orthogonal ReLU"],
)
def test_each_layer_adds_its_share_to_the_spread(initializer, activation, per_layer):
    """Source: Pennington et al. 2017, arXiv:1711.04735."""
    spread, depth, width = [], 4, 128
    for seed in range(12):
        hidden = mlp([width] * (depth + 2), activation, initializer=initializer, seed=seed)[:-1].double()
        x = normal(width, generator=seeded(1000 + seed), dtype=torch.float64)
        spread.append(isometry(hidden, x).spread)
    spread = torch.stack(spread)
    # Four standard errors, and a bias of the order of depth² / width.
    within = 4 * float(spread.std()) / sqrt(12) + per_layer * depth**2 / width
    assert float(spread.mean()) == pytest.approx(per_layer * depth, abs=within + 1e-9)


def test_a_layer_that_does_not_read_its_input_has_a_jacobian_of_zeros():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.ones(3))

        def forward(self, h):
            return self.bias.expand(len(h), -1)

    (found,) = layer_jacobians(nn.Sequential(Constant()), torch.ones(2, 4))
    assert found.shape[-2:] == (3, 4)
    assert not found.any()
