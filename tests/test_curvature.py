"""The largest curvature is the largest eigenvalue of the Hessian, found without writing the Hessian down."""

from math import inf, isnan, nan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from d2lstab import mlp, seeded, xavier_normal_
from d2lstab.curvature import sharpness
from d2lstab.randomness import normal

pytestmark = pytest.mark.slow

F64 = torch.float64


def point(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64, requires_grad=True)


def network_loss(seed: int) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    network = mlp([3, 4, 2], torch.tanh, initializer=xavier_normal_, seed=seed, dtype=F64)
    generator = seeded(seed)
    return network, normal(8, 3, generator=generator, dtype=F64), normal(8, 2, generator=generator, dtype=F64)


def test_a_quadratic_has_its_largest_coefficient():
    w = point(1.0, -2.0, 0.5)
    loss = (torch.tensor([10.0, 1.0, 3.0], dtype=F64) * w.square()).sum() / 2
    assert sharpness(loss, [w]) == pytest.approx(10, rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(0, 10**6))
def test_a_quadratic_form_has_the_largest_eigenvalue_of_its_matrix(size, seed):
    matrix = normal(size, size, generator=seeded(seed), dtype=F64)
    matrix = matrix + matrix.T
    w = torch.ones(size, dtype=F64, requires_grad=True)
    expected = float(torch.linalg.eigvalsh(matrix)[-1])
    largest = float(torch.linalg.eigvalsh(matrix).abs().max())
    assert sharpness(w @ matrix @ w / 2, [w], tolerance=1e-9) == pytest.approx(expected, abs=1e-7 * largest)


def test_linear_regression_has_the_largest_eigenvalue_of_its_second_moments():
    X = normal(50, 20, generator=seeded(0), dtype=F64)
    w = torch.zeros(20, dtype=F64, requires_grad=True)
    expected = float(torch.linalg.eigvalsh(X.T @ X / 50)[-1])
    loss = (X @ w - X.sum(1)).square().mean() / 2
    assert sharpness(loss, [w], tolerance=1e-8) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_the_hessian_written_down(seed):
    network, inputs, targets = network_loss(seed)
    shapes = {name: p.shape for name, p in network.named_parameters()}

    def of_all(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        weights = {name: part.view(shapes[name]) for name, part in zip(shapes, parts)}
        return (functional_call(network, weights, (inputs,)) - targets).square().mean()

    flat = torch.cat([p.detach().flatten() for p in network.parameters()])
    expected = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(of_all, flat))[-1])
    loss = (network(inputs) - targets).square().mean()
    assert sharpness(loss, network.parameters(), tolerance=1e-9) == pytest.approx(expected, rel=1e-8)
    assert sharpness(loss, network.parameters()) == pytest.approx(expected, rel=2e-3)


def test_the_largest_by_value_and_not_by_size():
    """A power iteration would find -10."""
    w = point(1.0, 1.0)
    assert sharpness((-10 * w[0] ** 2 + 2 * w[1] ** 2) / 2, [w]) == pytest.approx(2, rel=1e-6)


def test_a_maximum_has_negative_curvature():
    w = point(0.3, 0.1)
    assert sharpness(-(w[0] ** 2) - 3 * w[1] ** 2, [w]) == pytest.approx(-2, rel=1e-6)


def test_a_linear_loss_has_none():
    w = point(1.0, 2.0)
    assert sharpness(3 * w.sum(), [w]) == 0


def test_what_is_constant_in_some_parameters_has_that_of_the_others():
    w, unused, linear = point(1.0, 2.0), point(1.0), point(1.0)
    loss = 2 * w.square().sum() + 5 * linear.sum()
    assert sharpness(loss, [unused, linear, w]) == pytest.approx(4, rel=1e-6)
    assert sharpness(loss, w) == pytest.approx(4, rel=1e-6)


def test_parameters_of_two_dtypes_are_one_space():
    w, v = point(1.0), torch.ones(1, requires_grad=True)
    assert sharpness((w * v.double()).sum(), [w, v]) == pytest.approx(1, rel=1e-5)


def test_the_graph_and_the_gradients_stay():
    network, inputs, targets = network_loss(0)
    loss = (network(inputs) - targets).square().mean()
    first = sharpness(loss, network.parameters())
    assert sharpness(loss, network.parameters()) == first
    assert all(p.grad is None for p in network.parameters())
    loss.backward()


def test_more_rounds_never_find_less():
    network, inputs, targets = network_loss(1)
    loss = (network(inputs) - targets).square().mean()
    found = [sharpness(loss, network.parameters(), rounds=rounds, tolerance=1e-12) for rounds in (1, 2, 4, 8, 26)]
    assert found == sorted(found)


@pytest.mark.parametrize("factor", [inf, nan])
def test_what_is_not_finite_has_no_curvature(factor):
    w = point(1.0)
    assert isnan(sharpness(factor * w.square().sum(), [w]))


def test_curvature_that_is_infinite_is_no_number():
    w = point(0.0, 1.0)
    assert isnan(sharpness((w.abs() ** 1.5).sum(), [w]))  # a finite slope at 0, and an infinite second derivative


@pytest.mark.parametrize(
    ("loss", "kind", "said"),
    [
        (lambda w: 1.0, TypeError, r"loss=1.0 of type float\nexpected a scalar tensor"),
        (lambda w: w.square(), ValueError, r"loss of shape \(2,\), with a graph\nexpected a scalar"),
        (lambda w: w.detach().sum(), ValueError, r"loss of shape \(\), without a graph\nexpected a scalar"),
        (lambda w: point(1.0).square().sum(), ValueError, r"depends on none of the 1 parameters\nexpected those"),
    ],
)
def test_a_loss_that_is_none_is_refused(loss, kind, said):
    w = point(1.0, 2.0)
    with pytest.raises(kind, match=said):
        sharpness(loss(w), [w])


@pytest.mark.parametrize("parameters", [[], [torch.zeros(2)], [1.0]])
def test_parameters_that_are_none_are_refused(parameters):
    w = point(1.0)
    with pytest.raises(ValueError, match=r"parameters=.*\nexpected tensors that require a gradient"):
        sharpness(w.square().sum(), parameters)


def test_bad_numbers_are_refused():
    w = point(1.0)
    with pytest.raises(ValueError, match=r"rounds=0 .*\nexpected a whole number"):
        sharpness(w.square().sum(), [w], rounds=0)
    with pytest.raises(ValueError, match=r"tolerance=0\nexpected a positive number"):
        sharpness(w.square().sum(), [w], tolerance=0)


def test_what_can_be_differentiated_only_once_is_named_and_the_advice_helps():
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    inputs = normal(2, 3, 8, generator=seeded(0))
    with pytest.raises(ValueError, match="cannot be differentiated twice: .*attention.*\nexpected .*sdpa_kernel"):
        sharpness(layer(inputs).square().mean(), layer.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        assert sharpness(layer(inputs)[..., 0].square().mean(), layer.parameters(), rounds=5) > 0


def test_after_backward_it_is_said_that_the_graph_is_gone():
    x = torch.ones(3, requires_grad=True)
    loss = x.pow(3).sum()
    loss.backward(retain_graph=True)
    assert sharpness(loss, [x]) == pytest.approx(6)
    loss.backward()
    with pytest.raises(ValueError, match=r"thrown the graph away\nexpected one before its backward"):
        sharpness(loss, [x])
