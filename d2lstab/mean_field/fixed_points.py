"""Where a deep, infinitely wide network settles, and how fast."""

from collections.abc import Callable
from math import exp, inf, log
from typing import NamedTuple

import torch
from torch import Tensor

from ..activations import Activation
from ..arguments import not_negative
from ..signatures import checked
from .maps import pair_mean
from .quadrature import Moments, Panels, finite, known, moments, moments_at, panels_of

_LENGTHS = torch.logspace(-10, 10, 801, dtype=torch.float64, device="cpu")  # 1 is among them


class DepthScales(NamedTuple):
    """Numbers of layers over which a length, and a correlation, come closer to their fixed points by a factor e.

    >>> scales = depth_scales(torch.relu, 2**0.5)  # He's weights are at the edge of chaos
    >>> scales.variance, scales.correlation
    (inf, inf)
    """

    variance: float
    correlation: float


@checked
def q_star(activation: Activation, sigma_w: float, sigma_b: float = 0.0) -> float:
    """The pre-activation second moment at which a deep network settles, starting from 1.

    Raises ValueError where there is none and the second moment grows without bound, and for negative scales.
    Source: Poole et al. 2016, arXiv:1606.05340, eq. 3.

    >>> round(q_star(torch.tanh, sigma_w=1.5, sigma_b=0.3), 3)
    0.961
    """
    sigma_w, sigma_b = not_negative(sigma_w=sigma_w), not_negative(sigma_b=sigma_b)
    scales = torch.tensor([sigma_w, sigma_b], dtype=torch.float64, device="cpu")
    found = float(lengths(activation, scales[0], scales[1], panels_of(activation))[0])
    if found == inf:
        raise ValueError(
            f"sigma_w={sigma_w}, sigma_b={sigma_b}: no fixed point, the second moment grows without bound\n"
            "expected scales at which it settles; smaller ones do"
        )
    return found


def lengths(activation: Activation, sigma_w: Tensor, sigma_b: Tensor, panels: Panels) -> tuple[Tensor, Tensor]:
    """The fixed points of `q_star` and E f′² there, of the broadcast shape.

    Where the second moment grows without bound the fixed point is inf, and E f′² that of a very large one.
    """
    sigma_w, sigma_b = torch.broadcast_tensors(sigma_w, sigma_b)
    table = moments(activation, _LENGTHS, panels)
    drift = sigma_w[..., None].square() * table.square + sigma_b[..., None].square() - _LENGTHS
    start = len(_LENGTHS) // 2
    neutral = drift[..., start].abs() < 1e-12  # as every length is for ReLU at √2: it stays where it starts
    rising = drift[..., start] > 0
    above, below = drift[..., start:], drift[..., : start + 1].flip(-1)
    step_up, step_down = (above <= 0).int().argmax(-1), (below >= 0).int().argmax(-1)  # the first change of sign
    unbounded = rising & (above > 0).all(-1) & ~neutral
    vanishing = ~rising & (below < 0).all(-1) & ~neutral
    low = torch.where(rising, start + step_up - 1, start - step_down).clamp(0, len(_LENGTHS) - 2)
    low = low.where(~unbounded, len(_LENGTHS) - 2)
    walked = slice(min(int(low.min()), start), max(int(low.max()) + 1, start) + 1)
    known(table.error[walked], _LENGTHS[walked])
    q = _between(table, sigma_w, sigma_b, low)
    # Below the table f is a line: what the bias and f(0) add, and each layer shortens.
    added = sigma_w.square() * _square_at_zero(activation) + sigma_b.square()
    kept = sigma_w.square() * moments_at(activation, 0.0, panels).slope_square
    floor = torch.where(added > 0, added / (1 - kept), 0.0)
    q = torch.where(vanishing, floor, q.where(~neutral, 1.0)).where(~unbounded, _LENGTHS[-1])
    at_rest = unbounded | vanishing | neutral

    def newton(q: Tensor) -> tuple[Tensor, Tensor, bool]:
        here = moments(activation, q, panels)
        known(here.error.where(~unbounded, 0.0), q)
        speed = sigma_w.square() * here.derivative - 1
        step = ((sigma_w.square() * here.square + sigma_b.square() - q) / speed).where(~at_rest, 0.0)
        better = torch.where(at_rest, q, (q - step).clamp(_LENGTHS[low], _LENGTHS[low + 1]))
        return better, here.slope_square, bool((step.abs() < 1e-9 * q).logical_or(at_rest).all())

    q, slope_square, settled = newton(q)  # the table is right to about 1e-8; two of Newton's steps leave rounding
    if not settled:
        q, slope_square, _ = newton(q)
    return torch.where(unbounded, inf, q), slope_square


def _square_at_zero(activation: Activation) -> float:
    """f(0)², or 0 where that is only rounding, as of sigmoid(z) − ½."""
    square = float(finite(activation, torch.zeros(1, dtype=torch.float64, device="cpu")).square())
    return square if square > 1e-24 else 0.0


def _between(table: Moments, sigma_w: Tensor, sigma_b: Tensor, low: Tensor) -> Tensor:
    """Where the map crosses the diagonal between entries low and low + 1, by Newton on the cubic through the table."""
    left, right = _LENGTHS[low], _LENGTHS[low + 1]
    width, value, derivative = right - left, table.square, table.derivative
    rise, start, end = value[low + 1] - value[low], derivative[low] * width, derivative[low + 1] * width
    t = torch.full_like(left, 0.5)
    for _ in range(8):
        cubic = value[low] + t * (start + t * (3 * rise - 2 * start - end + t * (start + end - 2 * rise)))
        tangent = start + t * (2 * (3 * rise - 2 * start - end) + 3 * t * (start + end - 2 * rise))
        gap = sigma_w.square() * cubic + sigma_b.square() - left - t * width
        t = (t - gap / (sigma_w.square() * tangent - width)).nan_to_num(0.5).clamp(0, 1)
    return left + t * width


@checked
def c_star(activation: Activation, sigma_w: float, sigma_b: float = 0.0) -> float:
    """The correlation at which two different inputs settle: 1 in the ordered phase, less in the chaotic one.

    A χ within 1e-5 of 1 is taken to be at the edge of chaos, unless the correlation settles at 0.
    Raises what `q_star` raises, and ValueError where the length settles at 0 and there is no correlation.
    Source: Poole et al. 2016, arXiv:1606.05340, eq. 5.

    >>> c_star(torch.tanh, 1.0, 0.3), round(c_star(torch.tanh, 3.0), 4)  # order; chaos, and no bias in common
    (1.0, 0.0)
    """
    return _settled(activation, sigma_w, sigma_b)[1]


def _settled(activation: Activation, sigma_w: float, sigma_b: float) -> tuple[float, float, Panels]:
    """q* and c*, and the panels of f."""
    q, panels = q_star(activation, sigma_w, sigma_b), panels_of(activation)
    if q == 0:
        raise ValueError(
            f"sigma_w={sigma_w}, sigma_b={sigma_b}: the signal vanishes\nexpected scales at which it does not"
        )
    stretch = sigma_w**2 * float(moments_at(activation, q, panels).slope_square)  # the slope at c = 1
    if stretch <= 1 + 1e-12:
        return q, 1.0, panels

    def drift(c: float) -> float:  # over 1 - c, which takes the fixed point at 1 away
        mapped = (sigma_w**2 * pair_mean(activation, q, c, panels) + sigma_b**2) / q
        return (mapped - c) / (1 - c) if c < 1 else 1 - stretch

    # The map is convex from 0 to 1, where it starts at or above 0 and comes in from below: one crossing between.
    if drift(0.0) <= 1e-15:
        return q, 0.0, panels
    # Closer to the edge than 1e-5 rounding in pair_mean drowns what tells the crossing from 1.
    return q, 1.0 if stretch <= 1 + 1e-5 else _root(drift, 0.0, 1.0), panels


@checked
def critical_sigma_w(activation: Activation, sigma_b: float = 0.0) -> float:
    """The σ_w at the edge of chaos, where χ = 1 at the fixed point.

    Raises ValueError where there is none (ReLU with biases: its length has no fixed point at σ_w = √2).
    Source: Schoenholz et al. 2017, arXiv:1611.01232, §3.

    >>> round(critical_sigma_w(torch.relu), 3)  # √2, as He has it
    1.414
    """
    sigma_b = not_negative(sigma_b=sigma_b)
    # For every length q the scale with χ = 1 is 1/√E f′²; at the right q this scale also keeps q.
    panels = panels_of(activation)
    if sigma_b == 0 and _square_at_zero(activation) == 0:
        # The length settles at 0, where only the slopes on both sides of 0 count.
        return float(moments_at(activation, 0.0, panels).slope_square.rsqrt())
    table = moments(activation, _LENGTHS, panels)

    def excess(log_q: float) -> float:
        q = exp(log_q)
        here = moments_at(activation, q, panels)
        return q - float(here.square / here.slope_square) - sigma_b**2

    signs = (_LENGTHS - table.square / table.slope_square - sigma_b**2).sign()
    crossings = torch.nonzero((signs[1:] > 0) & (signs[:-1] < 0)).flatten()
    walked = slice(0, int(crossings[0]) + 2 if len(crossings) else None)
    known(table.error[walked], _LENGTHS[walked])
    if not len(crossings):
        raise ValueError(
            f"sigma_b={sigma_b}: no sigma_w has χ = 1 at a fixed point\nexpected a bias scale with an edge of chaos"
        )
    low, high = _LENGTHS[crossings[0]].log().item(), _LENGTHS[crossings[0] + 1].log().item()
    return float(moments_at(activation, exp(_root(excess, low, high)), panels).slope_square.rsqrt())


@checked
def depth_scales(activation: Activation, sigma_w: float, sigma_b: float = 0.0) -> DepthScales:
    """How many layers a length and a correlation take to come e times closer to their fixed points.

    ξ = −1 / ln of the slope of each map at its fixed point; inf where the slope is 1, at the edge of chaos.
    Raises what `c_star` raises. Source: Schoenholz et al. 2017, arXiv:1611.01232, eq. 6 and 9.

    >>> scales = depth_scales(torch.relu, 1.0, 0.3)
    >>> round(scales.variance, 2), round(scales.correlation, 2)  # both maps have the slope ½: 1 / ln 2
    (1.44, 1.44)
    """
    q, c, panels = _settled(activation, sigma_w, sigma_b)
    length_slope = sigma_w**2 * float(moments_at(activation, q, panels).derivative)
    correlation_slope = sigma_w**2 * pair_mean(activation, q, c, panels, of_slopes=True)
    return DepthScales(_scale(length_slope), _scale(correlation_slope))


def _scale(map_slope: float) -> float:
    map_slope = abs(map_slope)
    return 0.0 if map_slope == 0 else inf if map_slope >= 1 - 1e-12 else -1 / log(map_slope)


def _root(g: Callable[[float], float], low: float, high: float) -> float:
    """Where g changes sign between low and high: the Illinois form of regula falsi, bounded."""
    g_low, g_high = g(low), g(high)
    for _ in range(100):
        middle = high - g_high * (high - low) / (g_high - g_low)
        g_middle = g(middle)
        if g_middle == 0 or abs(high - low) < 1e-13 * max(1.0, abs(middle)):
            return middle
        if (g_middle > 0) == (g_high > 0):
            g_low = g_low / 2
        else:
            low, g_low = high, g_high
        high, g_high = middle, g_middle
        if abs(g_middle) < 1e-14:  # about what rounding leaves of a pair_mean
            return middle
    return high
