"""One layer of an infinitely wide network: what it does to lengths, correlations and gradients."""

from functools import partial
from math import sqrt

import torch
from torch import Tensor

from ..activations import Activation, check_elementwise
from ..arguments import not_negative, whole_numbers
from ..signatures import checked
from .quadrature import (
    CHUNK,
    PAIR_PANELS,
    REACH,
    Panels,
    finite,
    finite_with_slope,
    gaussian_mean,
    gaussian_nodes,
    moments_at,
    panels_of,
    refined,
    relative,
)

_LONGEST = 1e300  # a second moment whose root and products float64 holds


@checked
def variance_map(activation: Activation, q: float, sigma_w: float, sigma_b: float = 0.0) -> float:
    """The pre-activation second moment of the next layer: σ_w² E f(√q z)² + σ_b².

    Raises ValueError for negative numbers, and what `gaussian_mean` raises.
    Source: Poole et al. 2016, arXiv:1606.05340, eq. 3.

    >>> round(variance_map(torch.relu, 3.0, sigma_w=2**0.5, sigma_b=1.0), 4)  # half of 3 passes a ReLU
    4.0
    """
    sigma_w, sigma_b = not_negative(sigma_w=sigma_w), not_negative(sigma_b=sigma_b)
    return sigma_w**2 * _mean_square(activation, not_negative(q=q)) + sigma_b**2


@checked
def correlation_map(activation: Activation, c: float, q: float, sigma_w: float, sigma_b: float = 0.0) -> float:
    """The correlation of two inputs' pre-activations in the next layer, when here it is c and both have length q.

    Raises ValueError for |c| > 1, q that is not positive or negative scales, and what `gaussian_mean` raises.
    Source: Poole et al. 2016, arXiv:1606.05340, eq. 5.

    >>> round(correlation_map(torch.relu, 0.0, q=1.0, sigma_w=2**0.5), 4)  # 1/π: what was uncorrelated no longer is
    0.3183
    """
    sigma_w, sigma_b = not_negative(sigma_w=sigma_w), not_negative(sigma_b=sigma_b)
    panels = panels_of(activation)
    covariance = sigma_w**2 * pair_mean(activation, q, c, panels) + sigma_b**2
    return covariance / (sigma_w**2 * pair_mean(activation, q, 1.0, panels) + sigma_b**2)


@checked
def chi(activation: Activation, q: float, sigma_w: float) -> float:
    """The factor of the mean squared gradient per layer, going back: σ_w² E f′(√q z)².

    Raises ValueError for negative numbers, and what `gaussian_mean` raises.
    Source: Schoenholz et al. 2017, arXiv:1611.01232, eq. 7.

    >>> q = q_star(torch.tanh, sigma_w=1.5, sigma_b=0.3)
    >>> round(chi(torch.tanh, q, sigma_w=1.5), 3)  # above 1: chaos
    1.061
    """
    q, sigma_w = not_negative(q=q), not_negative(sigma_w=sigma_w)
    return sigma_w**2 * float(moments_at(activation, q).slope_square)


@checked
def forward_gain(activation: Activation) -> float:
    """The gain that keeps the second moment of unit pre-activations: 1 / √E f(z)², z ~ N(0, 1).

    Raises ValueError if f is 0 everywhere, and what `gaussian_mean` raises.
    Source: He et al. 2015, arXiv:1502.01852, generalised; Kumar 2017, arXiv:1704.08863.

    >>> round(forward_gain(torch.relu), 4)  # He's √2
    1.4142
    """
    return 1 / sqrt(_positive(_mean_square(activation, 1.0), "E f²"))


@checked
def backward_gain(activation: Activation) -> float:
    """The gain that keeps the mean squared gradient at unit pre-activations: 1 / √E f′(z)², z ~ N(0, 1).

    Raises ValueError if f is flat everywhere, and what `gaussian_mean` raises.

    >>> round(forward_gain(torch.tanh), 2), round(backward_gain(torch.tanh), 2)  # no gain of a tanh keeps both
    (1.59, 1.47)
    """
    return 1 / sqrt(_positive(chi(activation, 1.0, 1.0), "E f′²"))


@checked
def batchnorm_gradient_factor(activation: Activation, batch: int | None = None) -> float:
    """The factor of the mean squared gradient per layer of a wide network x ↦ f(BatchNorm(W x)), going back.

    batch: its size, for the identity and ReLU; None is an infinite batch, for any f: E f′² / Var f.
    Raises ValueError for a batch of fewer than 4 examples (the factor is infinite at 3), or a finite batch and
    another f.
    Source: Yang et al. 2019, arXiv:1902.08129.

    >>> round(batchnorm_gradient_factor(torch.relu), 3)  # π / (π − 1)
    1.467
    """
    if batch is None:
        at_1 = moments_at(activation, 1.0)
        variance = float(at_1.square) - gaussian_mean(activation) ** 2
        return float(at_1.slope_square) / _positive(variance, "Var f")
    (batch,) = whole_numbers(batch=batch)
    if batch < 4:
        raise ValueError(f"batch={batch}\nexpected at least 4 examples: the factor is infinite below")
    check_elementwise(activation, like=torch.zeros(1, dtype=torch.float64, device="cpu"))
    z = torch.tensor([-2.0, -0.5, 0.5, 3.0], dtype=torch.float64, device="cpu")
    values, c = finite(activation, z), -1 / (batch - 1)
    if torch.equal(values, z):
        return (batch - 2) / (batch - 3)
    if torch.equal(values, z.relu()):
        angle = torch.acos(torch.tensor(c, dtype=torch.float64, device="cpu")).item()
        kernel = (sqrt(1 - c**2) + (torch.pi - angle) * c) / torch.pi  # Cho and Saul's, of degree 1
        kernel_slope = (torch.pi - angle) / torch.pi
        return ((batch - 1 + kernel_slope) / (1 - kernel) - 1) / (batch - 3)
    raise ValueError(
        f"batch={batch} for {activation}\nexpected batch=None, or the identity or ReLU, whose finite-batch factors are known"
    )


def pair_mean(activation: Activation, q: float, c: float, panels: Panels, *, of_slopes: bool = False) -> float:
    """E f(u₁) f(u₂), or of the slopes, for Gaussian u of second moment q and correlation c; panels: those of f.

    Raises ValueError for |c| > 1 or q ≤ 0.
    """
    if not (-1 <= c <= 1 and 0 < q < _LONGEST):
        raise ValueError(f"c={c}, q={q}\nexpected a correlation from -1 to 1 and a positive length")

    def g(x: Tensor) -> Tensor:
        return finite_with_slope(activation, x)[1] if of_slopes else finite(activation, x)

    return refined(partial(_pair_mean, g, q, c, panels), q, PAIR_PANELS)


def _pair_mean(g: Activation, q: float, c: float, panels: Panels, count: int) -> tuple[Tensor, Tensor]:
    """The mean and a bound on its error, relative to E g²."""
    q, scale, rest = float(q), sqrt(q), sqrt(1 - c**2)
    edges = panels.edges[panels.edges.abs() < 2 * REACH * scale]  # none beyond is ever reached, and panels cost
    if rest == 0:
        nodes = gaussian_nodes(torch.cat([edges, -edges]).unique(), torch.tensor(q, device="cpu"), count)
        values, mirrored = g(scale * nodes.z), g(c * scale * nodes.z)
        return nodes.mean(values * mirrored), relative(nodes.error(values * mirrored), nodes.mean(values.square()))
    # The inner mean is g smoothed over scale · rest, seen at c u: panels shrink to that size around its kinks.
    fine = scale * rest * 2.0 ** torch.arange(-1, 40, dtype=torch.float64, device="cpu")
    fine = torch.cat([-fine, fine])[:, None]
    near = ((panels.kinks + fine) / c).flatten() if c else edges
    outer = gaussian_nodes(torch.cat([edges, near[near.abs() < 64]]).unique(), torch.tensor(q, device="cpu"), count)
    u, means, errors = scale * outer.z, [], []
    for some in u.split(CHUNK):
        inner = gaussian_nodes(edges, torch.tensor(q * (1 - c**2), device="cpu"), count, shift=c * some)
        values = g((c * some)[:, None] + scale * rest * inner.z)
        means.append(inner.mean(values))
        errors.append(inner.error(values))
    values = g(u)
    product = values * torch.cat(means)
    error = outer.error(product) + outer.mean(values.abs() * torch.cat(errors))
    return outer.mean(product), relative(error, outer.mean(values.square()))


def _mean_square(activation: Activation, q: float) -> float:
    return float(moments_at(activation, q).square)


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise ValueError(f"{name} = {value:g} for this activation\nexpected one that is not constant")
    return value
