"""The nonlinearities and their slopes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from .arguments import is_whole, name_of
from .plotting import Axes, new_axes
from .results import Result
from .signatures import checked

__all__ = ["ACTIVATIONS", "Activation", "ActivationCurve", "curve", "dead_units", "saturated_share", "slope"]

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "hard tanh": F.hardtanh,
    "ReLU": torch.relu,
    "leaky ReLU 0.01": F.leaky_relu,
    "leaky ReLU 0.2": partial(F.leaky_relu, negative_slope=0.2),
    "ELU": F.elu,
    "SELU": F.selu,
    "GELU": F.gelu,
    "SiLU": F.silu,
    "softplus": F.softplus,
}
"""Activations by the label that a legend has.

>>> z = torch.tensor([-1.0, 0.0, 1.0])
>>> ACTIVATIONS["leaky ReLU 0.2"](z)
tensor([-0.2000,  0.0000,  1.0000])
"""

_ELEMENTWISE = "expected an elementwise, deterministic function, such as torch.tanh"


@dataclass(frozen=True, eq=False, repr=False)
class ActivationCurve(Result):
    """An activation and its slope on a grid.

    >>> sigmoid = curve(torch.sigmoid)
    >>> sigmoid.x.shape, round(float(sigmoid.gradient.max()), 2)  # a sigmoid's slope is at most ¼
    (torch.Size([160]), 0.25)
    """

    x: Tensor  # (points,)
    value: Tensor  # (points,)
    gradient: Tensor  # (points,)

    def plot(self, ax: Axes | None = None, *, label: str | None = None) -> Axes:
        """Axes with the activation and its gradient against its input."""
        ax = new_axes(ax)
        suffix = f" of {label}" if label else ""
        for line, name in ((self.value, "value"), (self.gradient, "gradient")):
            ax.plot(self.x.cpu(), line.cpu(), label=name + suffix)
        ax.set(xlabel="pre-activation z", ylabel="f(z) and f′(z)")
        ax.legend()
        return ax


def check_elementwise(activation: Activation, *, like: Tensor | None = None) -> None:
    """Returns None for a function that maps each entry of a tensor on its own, the same way every time.

    like: a tensor whose dtype and device f is tried on, torch's default ones without it.
    Raises TypeError if f is not callable, does not return a floating tensor, or `like` is not one; ValueError if
    f fails on a tensor of some shape (a Linear layer), or if an entry's answer depends on its place (a slope per
    channel), its neighbours (softmax, normalization) or chance (dropout).
    """
    if not callable(activation):
        raise TypeError(
            f"activation={activation!r} of type {type(activation).__name__}\nexpected a function of a tensor, such as torch.tanh"
        )
    like = torch.empty(0, device="cpu") if like is None else like
    if not isinstance(like, Tensor) or not like.is_floating_point():
        raise TypeError(f"activation {name_of(activation)} of {_kind(like)}\nexpected a floating tensor")
    size = 32  # 256 entries are compared: even a dropout of 1 in 50 leaves one of them different
    numbers = torch.arange(size * size, device="cpu") * 389 % (size * size)  # each once, in an order without a pattern
    z = (numbers / (size * size) * 6 - 3).reshape(size, size).to(like)
    corner = slice(size // 2, None)
    try:
        with torch.no_grad():
            whole, part = activation(z.clone()), activation(z[corner, corner].clone())
    except Exception as error:
        raise ValueError(
            f"activation {name_of(activation)} fails on a {size} × {size} tensor, or on a part of it: {error}\n{_ELEMENTWISE}"
        ) from error
    if not isinstance(whole, Tensor) or not whole.is_floating_point():
        raise TypeError(
            f"activation {name_of(activation)} returned {_kind(whole)}\nexpected a floating tensor of the shape it was given"
        )
    rounding = 16 * torch.finfo(whole.dtype).eps  # torch may take another path through another shape
    if whole.shape != z.shape or not torch.allclose(
        whole[corner, corner], part, rtol=rounding, atol=rounding, equal_nan=True
    ):
        raise ValueError(
            f"activation {name_of(activation)} does not treat each entry on its own: f of a {size} × {size} tensor has shape"
            f" {tuple(whole.shape)}, or other values than f of a part of it\n{_ELEMENTWISE}"
        )


def value_and_slope(activation: Activation, z: Tensor) -> tuple[Tensor, Tensor]:
    """f(z) and f′(z) from one evaluation, for an f that `check_elementwise` has passed."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = z.detach().clone().requires_grad_()
        value = activation(leaf.clone())  # a copy: an in-place activation may not change a leaf
        if not value.requires_grad:  # a constant, or a step: flat everywhere
            return value, torch.zeros_like(leaf, requires_grad=False)
        (gradient,) = torch.autograd.grad(value, leaf, torch.ones_like(value), materialize_grads=True)
    return value.detach(), gradient


@checked
def slope(activation: Activation, z: Tensor) -> Tensor:
    """The derivative f′(z), entry by entry, of the shape, dtype and device of z.

    At a kink it is what autograd says (0 for ReLU at 0). Raises what `check_elementwise` raises, for z as for f.

    >>> slope(torch.relu, torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0., 0., 1.])
    """
    check_elementwise(activation, like=z)
    return value_and_slope(activation, z)[1]


@checked
def curve(activation: Activation, *, low: float = -8.0, high: float = 8.0, step: float = 0.1) -> ActivationCurve:
    """The values and slopes of f on [low, high), as the source material draws them.

    Raises ValueError unless low < high and step > 0 are finite, and what `check_elementwise` raises.

    >>> ax = curve(torch.sigmoid).plot()
    """
    if not (-inf < low < high < inf and 0 < step < inf):
        raise ValueError(f"low={low}, high={high}, step={step}\nexpected finite low < high and a positive step")
    points = (high - low) / step
    if not points < 1e8:
        raise ValueError(f"low={low}, high={high}, step={step} are {points:.1e} points\nexpected fewer than 10⁸")
    check_elementwise(activation)
    x = torch.arange(low, high, step, device="cpu")
    return ActivationCurve(x, *value_and_slope(activation, x))


@checked
def saturated_share(
    activation: Activation, z: Tensor, *, slope_below: float = 0.01, dim: int | tuple[int, ...] | None = None
) -> Tensor:
    """The share of the entries of z at which |f′| is less than `slope_below`, at least float32.

    dim: the axes to count over, all of them by default. A share of entries of which one is NaN is NaN.
    Raises ValueError if z is empty or slope_below not positive, and what `slope` raises.

    >>> saturated_share(torch.sigmoid, torch.tensor([-10.0, 0.0, 1.0, 10.0]))  # flat beyond ±4.6
    tensor(0.5000)
    """
    if not slope_below > 0:
        raise ValueError(f"slope_below={slope_below}\nexpected a positive number")
    axes: tuple[object, ...] = () if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if not all(is_whole(axis) and -z.dim() <= axis < z.dim() for axis in axes):
        raise ValueError(f"dim={dim} for z of shape {tuple(z.shape)}\nexpected axes of z")
    slopes = slope(activation, z).abs()
    if z.numel() == 0:
        raise ValueError(f"z of shape {tuple(z.shape)}\nexpected at least one entry")
    flat = (slopes < slope_below).to(torch.promote_types(z.dtype, torch.float32))
    return flat.masked_fill(z.isnan() | slopes.isnan(), torch.nan).mean(dim)


@checked
def dead_units(activation: Activation, z: Tensor) -> Tensor:
    """True for each unit whose slope is exactly 0, by definition or by rounding, for every input.

    z: (..., inputs, units), pre-activations over a whole data set; one batch is not enough to call a unit
    dead. Returns (..., units). Raises ValueError without an input or for NaN, and what `slope` raises.

    >>> z = torch.tensor([[-1.0, 2.0], [-3.0, -1.0]])  # of two inputs, two units
    >>> dead_units(torch.relu, z)
    tensor([ True, False])
    """
    slopes = slope(activation, z)
    if z.dim() < 2 or z.shape[-2] == 0:
        raise ValueError(f"z of shape {tuple(z.shape)}\nexpected (..., inputs, units) with at least one input")
    if z.isnan().any():
        raise ValueError(
            f"z with {int(z.isnan().sum())} NaN of {z.numel()} entries\nexpected numbers, whose slopes are known"
        )
    return (slopes == 0).all(-2)


def _kind(thing) -> str:
    return f"a tensor of {thing.dtype}" if isinstance(thing, Tensor) else f"a {type(thing).__name__}"
