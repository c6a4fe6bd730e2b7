"""Gaussian expectations in float64, on panels that end where the integrand has a kink, with a bound on their error."""

from collections.abc import Callable, Sequence
from math import pi, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from ..activations import Activation, check_elementwise, value_and_slope
from ..arguments import not_negative
from ..signatures import checked

REACH = 9.0  # beyond 9 standard deviations the Gaussian is below 1e-18
CHUNK = 256
_PANELS = (16, 64, 256, 1024)  # even ones over the reach, beside those of the activation; more where these do not do
PAIR_PANELS = _PANELS[:2]  # under a double integral
_GOOD, _BAD = 1e-8, 1e-6  # relative errors: one that needs no more panels, and one that is no answer


@checked
def gaussian_mean(activation: Activation, variance: float = 1.0) -> float:
    """E f(z) for z ~ N(0, variance).

    f: any elementwise function, smooth or with kinks and jumps.
    Raises ValueError for a variance that is negative or not finite, and if f is not finite where the Gaussian
    has its mass; and what `check_elementwise` raises.

    >>> round(gaussian_mean(torch.relu), 4)  # 1 / √2π
    0.3989
    """
    variance = float(not_negative(variance=variance))
    panels = panels_of(activation)

    def mean(count: int) -> tuple[Tensor, Tensor]:
        nodes = gaussian_nodes(panels.edges, torch.tensor(variance, dtype=torch.float64, device="cpu"), count)
        values = finite(activation, nodes.z * sqrt(variance))
        return nodes.mean(values), relative(nodes.error(values), nodes.mean(values.abs()))

    return refined(mean, variance)


class Nodes(NamedTuple):
    """Nodes z and weights of a Gaussian mean, each (..., nodes); those of a coarser rule on the same nodes."""

    z: Tensor
    weight: Tensor
    coarse: Tensor

    def mean(self, values: Tensor) -> Tensor:
        return (values * self.weight).sum(-1)

    def error(self, values: Tensor) -> Tensor:
        """A bound on the error of the mean: by how much two rules differ, panel by panel."""
        differences = values * (self.weight - self.coarse)
        return differences.unflatten(-1, (-1, len(_KRONROD))).sum(-1).abs().sum(-1)


class Moments(NamedTuple):
    """Moments of an activation for z ~ N(0, q), each of the shape of q, float64."""

    square: Tensor  # E f(z)²
    slope_square: Tensor  # E f′(z)²
    derivative: Tensor  # d E f(z)² / dq
    error: Tensor  # a bound on the relative error of the first two


class Panels(NamedTuple):
    """Where panels should end for an activation."""

    edges: Tensor  # its kinks, and a geometric grid around 0
    kinks: Tensor  # the points at which it or its slope jumps or bends


def moments(activation: Activation, q: Tensor, panels: Panels) -> Moments:
    """The moments of f for each q, as well as `_PANELS` panels can tell; ask `known` whether they do.

    panels: those of f; finding them costs as much as many moments, so callers find them once.
    The derivative comes from integration by parts, E f² (z²/q − 1) / 2q, and so needs no second derivative of f.
    """
    flat = q.flatten()
    # In pieces that fit a cache, several times faster than at once.
    pieces = [_moments(activation, piece, panels, _PANELS[0]) for piece in flat.split(CHUNK)]
    parts = [torch.cat(part) for part in zip(*pieces)]
    for count in _PANELS[1:]:
        (doubtful,) = torch.nonzero(parts[-1] > _GOOD, as_tuple=True)
        if not len(doubtful):
            break
        for some in doubtful.split(max(1, CHUNK * _PANELS[0] // count)):
            for part, better in zip(parts, _moments(activation, flat[some], panels, count)):
                part[some] = better
    return Moments(*(part.reshape(q.shape) for part in parts))


def moments_at(activation: Activation, q: float, panels: Panels | None = None) -> Moments:
    """The moments at one q. Raises what `known` and `panels_of` raise."""
    given = torch.tensor(q, dtype=torch.float64, device="cpu")
    made = moments(activation, given, panels_of(activation) if panels is None else panels)
    known(made.error, given)
    return made


def _moments(activation: Activation, q: Tensor, panels: Panels, count: int) -> Moments:
    nodes = gaussian_nodes(panels.edges, q, count)
    x = nodes.z * q.clamp(min=1e-300).sqrt()[..., None]  # at q = 0 the slopes are those on both sides of 0
    values, slopes = finite_with_slope(activation, x)
    square, slope_square = values.square(), slopes.square()
    # Centred on f(0)², which the weight z² − 1 would cancel only up to rounding.
    centred = square - finite(activation, torch.zeros(1, dtype=torch.float64, device="cpu")).square()
    derivative = nodes.mean(centred * (nodes.z.square() - 1)) / (2 * q)
    means = nodes.mean(square), nodes.mean(slope_square)
    errors = [relative(nodes.error(values), mean) for values, mean in zip((square, slope_square), means)]
    return Moments(*means, derivative, torch.maximum(*errors))


def refined(mean: Callable[[int], tuple[Tensor, Tensor]], q: float, counts: Sequence[int] = _PANELS) -> float:
    """A mean with as many panels as it needs. mean: of a number of them -> value and relative error.

    Raises what `known` raises.
    """
    for count in counts[:-1]:
        value, error = mean(count)
        if error <= _GOOD:
            return float(value)
    value, error = mean(counts[-1])
    known(error, q)
    return float(value)


def relative(error: Tensor, value: Tensor) -> Tensor:
    """An error as a share of the value; 0 of 0 is 0, and so is what subnormal numbers are rounded by."""
    return torch.where(error > torch.finfo(torch.float64).tiny, error / value, 0.0)


def known(error: Tensor, q: Tensor | float) -> None:
    """Raises ValueError where a relative error says that the activation varies too fast for its quadrature."""
    wrong = ~(error <= _BAD)
    if wrong.any():
        first = torch.as_tensor(q, dtype=torch.float64, device="cpu").expand(error.shape)[wrong][0].item()
        raise ValueError(
            f"the activation varies too fast at inputs of variance {first:.4g}: its mean is known to a share of"
            f" {error[wrong][0].item():.1g} only\nexpected one that {_PANELS[-1]} panels resolve, or smaller inputs"
        )


def finite(activation: Activation, x: Tensor) -> Tensor:
    """f(x), or ValueError where it is infinite or NaN."""
    with torch.no_grad():
        return _checked(activation(x.clone()), x)


def finite_with_slope(activation: Activation, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and f′(x), or ValueError where one is infinite or NaN."""
    value, gradient = value_and_slope(activation, x)
    return _checked(value, x), _checked(gradient, x)


def _checked(values: Tensor, x: Tensor) -> Tensor:
    if not values.isfinite().all():
        bad = x[~values.isfinite()][0].item()
        raise ValueError(f"the activation or its slope is not finite at {bad:.4g}\nexpected finite values everywhere")
    return values


def gaussian_nodes(edges: Tensor, q: Tensor, count: int = _PANELS[0], *, shift: Tensor | float = 0.0) -> Nodes:
    """Nodes of ∫ g(shift + √q z) φ(z) dz, (..., nodes), φ the standard normal density.

    edges: points in the variable shift + √q z between which g is smooth; count: even panels beside them.
    q, shift: broadcastable, (...).
    """
    q = torch.as_tensor(q, dtype=torch.float64, device="cpu")
    shift = torch.as_tensor(shift, dtype=torch.float64, device="cpu")
    scaled = (edges - shift[..., None]) / q.sqrt().clamp(min=1e-300)[..., None]
    even = torch.linspace(-REACH, REACH, count + 1, dtype=torch.float64, device="cpu")
    every = torch.cat([scaled, even.expand(*scaled.shape[:-1], -1)], -1).clamp(-REACH, REACH).sort(-1).values
    centre, half = (every[..., 1:] + every[..., :-1]) / 2, (every[..., 1:] - every[..., :-1]) / 2
    z = (centre[..., None] + half[..., None] * _ABSCISSAE).flatten(-2)
    density = torch.exp(-z.square() / 2) / sqrt(2 * pi)
    weight, coarse = ((half[..., None] * rule).flatten(-2) * density for rule in (_KRONROD, _GAUSS))
    return Nodes(z, weight, coarse)


def panels_of(activation: Activation) -> Panels:
    """Where panels should end for f. Raises what `check_elementwise` and `finite` raise."""
    check_elementwise(activation, like=torch.zeros(1, dtype=torch.float64, device="cpu"))
    grid, (kinks, steep) = 2.0 ** torch.arange(-3, 7, dtype=torch.float64, device="cpu"), breakpoints(activation)
    fine = 2.0 ** torch.arange(-24, -2, dtype=torch.float64, device="cpu")
    around = (steep[:, None] + torch.cat([-fine, torch.zeros(1, device="cpu"), fine])).flatten()
    return Panels(
        torch.cat([-grid, torch.zeros(1, dtype=torch.float64, device="cpu"), grid, kinks, around]).unique(), kinks
    )


def breakpoints(activation: Activation, *, low: float = -64.0, high: float = 64.0) -> tuple[Tensor, Tensor]:
    """The points at which f or f′ jumps, or f′ bends, and those where f is smooth but steep.

    Jumps are found to rounding, bends to about 1e-5. Panels must shrink around the steep points.
    """
    x = torch.linspace(low, high, 2**15 + 1, dtype=torch.float64, device="cpu")
    value, gradient = finite_with_slope(activation, x)
    kinks, steep = [], []
    for signal in (value, gradient):
        step = signal.diff().abs()
        usual = step.median() + 0.02 * gradient.abs().max() * (1 if signal is gradient else 0.1)
        jumps = _nearest(x, step > 4 * usual)
        found, real = _bisect(activation, x[jumps], x[jumps + 1], of_slope=signal is gradient)
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


def _bisect(activation: Activation, low: Tensor, high: Tensor, *, of_slope: bool) -> tuple[Tensor, Tensor]:
    """The points between low and high, (jumps,), at which f or its slope rises most, and whether it really jumps."""
    if not len(low):
        return low, low.bool()
    signal = (lambda x: finite_with_slope(activation, x)[1]) if of_slope else (lambda x: finite(activation, x))
    at_low, at_high = signal(low), signal(high)
    whole = (at_high - at_low).abs()
    for _ in range(36):  # more would be less than the spacing of float64 at 64
        middle = (low + high) / 2
        at_middle = signal(middle)
        in_lower = (at_middle - at_low).abs() > (at_high - at_middle).abs()
        low, at_low = torch.where(in_lower, low, middle), torch.where(in_lower, at_low, at_middle)
        high, at_high = torch.where(in_lower, middle, high), torch.where(in_lower, at_middle, at_high)
    return (low + high) / 2, (at_high - at_low).abs() > whole / 2


def _mirrored(half: list[float], sign: float = 1.0) -> Tensor:
    """Values at nodes from −1 to 1, from those at 0 and the positive ones."""
    positive = torch.tensor(half[1:], dtype=torch.float64, device="cpu")
    return torch.cat([sign * positive.flip(0), torch.tensor(half[:1], dtype=torch.float64, device="cpu"), positive])


# The 15 nodes of Kronrod's rule, with its weights and those of Gauss's rule on 7 of them.
# Source: Piessens et al. 1983, QUADPACK, qk15.
_ABSCISSAE = _mirrored(
    [
        0.0, 0.207784955007898467600689403773245, 0.405845151377397166906606412076961,
        0.586087235467691130294144691693391, 0.741531185599394439863864773280788,
        0.864864423359769072789712788640926, 0.949107912342758524526189684047851,
        0.991455371120812639206854697526329,
    ],
    -1.0,
)  # fmt: skip
_KRONROD = _mirrored(
    [
        0.209482141084727828012999174891714, 0.204432940075298892414161999234649,
        0.190350578064785409913256402421014, 0.169004726639267902826583426598550,
        0.140653259715525918745189590510238, 0.104790010322250183839876322541518,
        0.063092092629978553290700663189204, 0.022935322010529224963732008058970,
    ]
)  # fmt: skip
_GAUSS = _mirrored(
    [
        0.417959183673469387755102040816327, 0.0, 0.381830050505118944950369775488975, 0.0,
        0.279705391489276667901467771423780, 0.0, 0.129484966168869693270611432679082, 0.0,
    ]
)  # fmt: skip
