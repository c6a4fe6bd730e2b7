"""Gaussian expectations in float64, on panels that end where the integrand has a kink."""

from functools import cache
from math import pi, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from ..activations import Activation, check_elementwise, value_and_slope

REACH = 9.0  # beyond 9 standard deviations the Gaussian is below 1e-18
_NODES = 12
_CHUNK = 256


def gaussian_mean(f: Activation, variance: float = 1.0) -> float:
    """E f(z) for z ~ N(0, variance).

    f: any elementwise function, smooth or with kinks and jumps.
    Raises ValueError for a variance that is negative or not finite, and if f is not finite where the Gaussian
    has its mass; and what `check_elementwise` raises.
    """
    variance = float(not_negative(variance=variance))
    z, weight = gaussian_nodes(panels_of(f).edges, torch.tensor(variance, dtype=torch.float64))
    return float(expectation(finite(f, z * sqrt(variance)), weight))


class Panels(NamedTuple):
    """Where panels should end for an activation."""

    edges: Tensor  # its kinks, and a geometric grid around 0
    kinks: Tensor  # the points at which it or its slope jumps or bends


def moments(f: Activation, q: Tensor, panels: Panels) -> tuple[Tensor, Tensor, Tensor]:
    """E f(z)², E f′(z)² and d E f(z)² / dq for z ~ N(0, q), each of the shape of q, float64.

    panels: those of f; finding them costs as much as many moments, so callers find them once.
    The derivative comes from integration by parts, E f² (z²/q − 1) / 2q, and so needs no second derivative of f.
    """
    if q.numel() > _CHUNK:  # in pieces that fit a cache, several times faster than at once
        pieces = [moments(f, piece, panels) for piece in q.flatten().split(_CHUNK)]
        squares, slope_squares, derivatives = (torch.cat(parts).reshape(q.shape) for parts in zip(*pieces))
        return squares, slope_squares, derivatives
    z, weight = gaussian_nodes(panels.edges, q)
    x = z * q.sqrt()[..., None]
    values, slopes = finite_with_slope(f, x)
    square = values.square()
    # Centred on f(0)², which the weight z² − 1 would cancel only up to rounding.
    centred = square - finite(f, torch.zeros(1, dtype=torch.float64)).square()
    derivative = expectation(centred * (z.square() - 1), weight) / (2 * q)
    return expectation(square, weight), expectation(slopes.square(), weight), derivative


def expectation(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum(-1)


def finite(f: Activation, x: Tensor) -> Tensor:
    """f(x), or ValueError where it is infinite or NaN."""
    with torch.no_grad():
        return _checked(f(x.clone()), x)


def finite_with_slope(f: Activation, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and f′(x), or ValueError where one is infinite or NaN."""
    value, gradient = value_and_slope(f, x)
    return _checked(value, x), _checked(gradient, x)


def _checked(values: Tensor, x: Tensor) -> Tensor:
    if not values.isfinite().all():
        bad = x[~values.isfinite()][0].item()
        raise ValueError(f"the activation or its slope is not finite at {bad:.4g}\nexpected finite values everywhere")
    return values


def gaussian_nodes(edges: Tensor, q: Tensor, *, shift: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Nodes z and weights of ∫ g(shift + √q z) φ(z) dz, each (..., nodes), φ the standard normal density.

    edges: points in the variable shift + √q z between which g is smooth. q, shift: broadcastable, (...).
    """
    q = torch.as_tensor(q, dtype=torch.float64)
    shift = torch.as_tensor(shift, dtype=torch.float64)
    scaled = (edges - shift[..., None]) / q.sqrt().clamp(min=1e-300)[..., None]
    even = torch.linspace(-REACH, REACH, 17, dtype=torch.float64)
    every = torch.cat([scaled, even.expand(*scaled.shape[:-1], -1)], -1).clamp(-REACH, REACH).sort(-1).values
    centre, half = (every[..., 1:] + every[..., :-1]) / 2, (every[..., 1:] - every[..., :-1]) / 2
    nodes, weights = _gauss_legendre()
    z = (centre[..., None] + half[..., None] * nodes).flatten(-2)
    weight = (half[..., None] * weights).flatten(-2) * torch.exp(-z.square() / 2) / sqrt(2 * pi)
    return z, weight


def panels_of(f: Activation) -> Panels:
    """Where panels should end for f. Raises what `check_elementwise` and `finite` raise."""
    check_elementwise(f, like=torch.zeros(1, dtype=torch.float64))
    grid, (kinks, steep) = 2.0 ** torch.arange(-3, 7, dtype=torch.float64), breakpoints(f)
    fine = 2.0 ** torch.arange(-24, -2, dtype=torch.float64)
    around = (steep[:, None] + torch.cat([-fine, torch.zeros(1), fine])).flatten()
    return Panels(torch.cat([-grid, torch.zeros(1, dtype=torch.float64), grid, kinks, around]).unique(), kinks)


def breakpoints(f: Activation, *, low: float = -64.0, high: float = 64.0) -> tuple[Tensor, Tensor]:
    """The points at which f or f′ jumps, or f′ bends, to rounding (bends to about 1e-5), and those where f is
    smooth but so steep that panels must shrink around them.
    """
    x = torch.linspace(low, high, 2**15 + 1, dtype=torch.float64)
    value, gradient = finite_with_slope(f, x)
    kinks, steep = [], []
    for signal in (value, gradient):
        step = signal.diff().abs()
        usual = step.median() + 0.02 * gradient.abs().max() * (1 if signal is gradient else 0.1)
        jumps = _nearest(x, step > 4 * usual)
        found, real = _bisect(f, x[jumps], x[jumps + 1], of_slope=signal is gradient)
        kinks.append(found[real])
        steep.append(found[~real])
    bend = gradient.diff() / (x[1] - x[0])
    turn = (bend[2:] - bend[:-2]).abs()  # two cells apart: the cell between holds the bend
    bends = _nearest(x, turn > 0.1 * bend.abs().max()) + 1
    left, right = bend[bends - 1], bend[bends + 1]
    crossing = (gradient[bends + 1] - gradient[bends] + left * x[bends] - right * x[bends + 1]) / (left - right)
    kinks.append(crossing[(crossing > x[bends]) & (crossing < x[bends + 1])])
    steep = torch.cat(steep).sort().values
    return torch.cat(kinks), steep[steep.diff(prepend=steep[:1] - 1) > 0.02]  # neighbouring cells see one spot


def _nearest(x: Tensor, where: Tensor) -> Tensor:
    """Indices at which `where` holds: the 256 whose x is nearest to 0."""
    found = torch.nonzero(where).flatten()
    return found[x[found].abs().argsort()[:256]]


def not_negative(**given: float) -> float:
    """The one named number as a float; ValueError if it is negative or not finite."""
    ((name, value),) = given.items()
    if not 0 <= float(value) < torch.inf:
        raise ValueError(f"{name}={value}\nexpected a finite number of at least 0")
    return float(value)


def _bisect(f: Activation, low: Tensor, high: Tensor, *, of_slope: bool) -> tuple[Tensor, Tensor]:
    """The points between low and high, (jumps,), at which f or its slope rises most, and whether it really jumps."""
    if not len(low):
        return low, low.bool()
    signal = (lambda x: finite_with_slope(f, x)[1]) if of_slope else (lambda x: finite(f, x))
    at_low, at_high = signal(low), signal(high)
    whole = (at_high - at_low).abs()
    for _ in range(36):  # more would be less than the spacing of float64 at 64
        middle = (low + high) / 2
        at_middle = signal(middle)
        in_lower = (at_middle - at_low).abs() > (at_high - at_middle).abs()
        low, at_low = torch.where(in_lower, low, middle), torch.where(in_lower, at_low, at_middle)
        high, at_high = torch.where(in_lower, middle, high), torch.where(in_lower, at_middle, at_high)
    return (low + high) / 2, (at_high - at_low).abs() > whole / 2


@cache
def _gauss_legendre() -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1]. Source: Golub and Welsch 1969, Math. Comp. 23, 221–230."""
    k = torch.arange(1, _NODES, dtype=torch.float64)
    nodes, vectors = torch.linalg.eigh(torch.diag(k / (4 * k.square() - 1).sqrt(), -1))  # it reads the lower triangle
    return nodes, 2 * vectors[0].square()
