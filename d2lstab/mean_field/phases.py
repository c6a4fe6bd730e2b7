"""Theory layer by layer, and over a whole plane of weight and bias scales."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import torch
from torch import Tensor

from ..activations import Activation
from ..arguments import not_negative, whole_numbers
from ..plotting import Axes, new_axes, theory_line
from ..results import Result
from ..signatures import checked
from .fixed_points import lengths
from .quadrature import Panels, moments_at, panels_of

_FAR = 200.0  # a logarithm beyond which f is taken as linear or constant


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(Result):
    """Second moments that an infinitely wide network has, layer by layer; entry 0 is the input.

    >>> ax = trajectory(torch.tanh, sigma_w=1.0, depth=20).plot(direction="backward")
    """

    forward: Tensor  # (depth + 1,), natural log of the mean squared activation
    backward: Tensor  # (depth + 1,), natural log of the mean squared gradient; entry `depth` is 0

    def plot(self, ax: Axes | None = None, *, direction: str = "forward", label: str | None = None) -> Axes:
        """Axes with the predicted second moment against depth in powers of ten, `direction` "forward" or "backward"."""
        ax = new_axes(ax)
        moments = getattr(self, direction)
        return theory_line(ax, torch.arange(len(moments), device="cpu"), moments / log(10), label=label)


@dataclass(frozen=True, eq=False, repr=False)
class PhaseDiagram(Result):
    """Order and chaos over weight and bias scales.

    >>> phases = phase_diagram(torch.tanh, sigma_w=[0.5, 1.0, 2.0], sigma_b=[0.1])
    >>> phases.chi > 1  # order, order, chaos
    tensor([[False, False,  True]])
    >>> phases.gradient_depth.shape
    torch.Size([1, 3])
    """

    sigma_w: Tensor  # (columns,)
    sigma_b: Tensor  # (rows,)
    q_star: Tensor  # (rows, columns), inf where the second moment grows without bound
    chi: Tensor  # (rows, columns), factor of the mean squared gradient per layer; nan where q_star is inf

    @property
    def gradient_depth(self) -> Tensor:
        """The number of layers over which a mean squared gradient changes by a factor e: 1 / |ln χ|."""
        return 1 / self.chi.log().abs()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Axes with log₁₀ χ as colours, and the edge of chaos, χ = 1, as a black dashed line."""
        ax = new_axes(ax)
        w, b, values = self.sigma_w.numpy(), self.sigma_b.numpy(), self.chi.log10().clamp(-1, 1)
        far = float(values.nan_to_num().abs().max()) or 1.0
        mesh = ax.pcolormesh(w, b, values.numpy(), cmap="RdBu_r", vmin=-far, vmax=far, shading="nearest")
        ax.figure.colorbar(mesh, ax=ax, label="log₁₀ χ")
        if min(values.shape) > 1:  # an edge runs between points
            ax.contour(w, b, values.numpy(), levels=[0.0], colors="black", linestyles="--")
        ax.grid(False)
        ax.set(xlabel="σ_w", ylabel="σ_b")
        return ax


@checked
def trajectory(
    activation: Activation, *, sigma_w: float, sigma_b: float = 0.0, depth: int = 50, second_moment: float = 1.0
) -> Trajectory:
    """The second moments of activations and gradients in each layer h ↦ f(W h + b) of an infinitely wide network.

    second_moment: of the input. Sizes are carried as logarithms. Draws over `depth_sweep(...).plot()`.
    Raises ValueError for negative scales, an input of 0 or a depth below 1, and what `gaussian_mean` raises.
    Source: Poole et al. 2016, arXiv:1606.05340, eq. 3; Schoenholz et al. 2017, arXiv:1611.01232, eq. 7.

    >>> ax = depth_sweep(lecun_normal_, torch.tanh).plot(label="8 networks")  # LeCun's scale is σ_w = 1
    >>> ax = trajectory(torch.tanh, sigma_w=1.0).plot(ax, label="infinite width")
    """
    (depth,) = whole_numbers(depth=depth)
    sigma_w, sigma_b = not_negative(sigma_w=sigma_w), not_negative(sigma_b=sigma_b)
    if not (second_moment > 0 and sigma_w > 0):
        raise ValueError(f"second_moment={second_moment}, sigma_w={sigma_w}\nexpected positive numbers")
    panels = panels_of(activation)
    forward, factors = [torch.tensor(log(second_moment), dtype=torch.float64, device="cpu")], []
    for _ in range(depth):
        log_q = forward[-1] + 2 * log(sigma_w)
        if sigma_b:
            log_q = torch.logaddexp(log_q, torch.tensor(2 * log(sigma_b), dtype=torch.float64, device="cpu"))
        inside = float(log_q.clamp(-_FAR, _FAR))
        log_square, log_slope = _log_moments(activation, inside, panels)
        if log_q != inside:  # a straight line in the logarithms: linear, or constant
            nearer = inside * (1 - 10 / _FAR)
            log_square = log_square + (log_q - inside) * (log_square - _log_moments(activation, nearer, panels)[0]) / (
                inside - nearer
            )
        forward.append(log_square)
        factors.append(log_slope + 2 * log(sigma_w))
    backward = torch.cat(
        [torch.stack(factors).flip(0).cumsum(0).flip(0), torch.zeros(1, dtype=torch.float64, device="cpu")]
    )
    return Trajectory(torch.stack(forward), backward)


@checked
def phase_diagram(
    activation: Activation,
    *,
    sigma_w: Tensor | Sequence[float] | None = None,
    sigma_b: Tensor | Sequence[float] | None = None,
) -> PhaseDiagram:
    """Fixed points and gradient factors over a grid of weight and bias scales.

    sigma_w: (columns,), sigma_b: (rows,), each from 0 up; 100 values from 0.05 to 4, and from 0 to 2, by default.
    Raises ValueError for negative or infinite scales, and what `gaussian_mean` raises.
    Source: Poole et al. 2016, arXiv:1606.05340, fig. 1.

    >>> ax = phase_diagram(torch.tanh).plot()
    """
    sigma_w = torch.linspace(0.05, 4, 100, device="cpu") if sigma_w is None else torch.as_tensor(sigma_w, device="cpu")
    sigma_b = torch.linspace(0, 2, 100, device="cpu") if sigma_b is None else torch.as_tensor(sigma_b, device="cpu")
    for name, scales in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if scales.dim() != 1 or not len(scales) or not ((scales >= 0) & scales.isfinite()).all():
            raise ValueError(
                f"{name} of shape {tuple(scales.shape)}: {scales.tolist()}\nexpected a line of scales from 0 up"
            )
    sigma_w, sigma_b = sigma_w.double(), sigma_b.double()
    panels = panels_of(activation)
    q, slope_square = lengths(activation, sigma_w[None, :], sigma_b[:, None], panels)
    return PhaseDiagram(sigma_w, sigma_b, q, torch.where(q.isfinite(), sigma_w.square() * slope_square, torch.nan))


def _log_moments(activation: Activation, log_q: float, panels: Panels) -> tuple[Tensor, Tensor]:
    made = moments_at(activation, exp(log_q), panels)
    return made.square.log(), made.slope_square.log()
