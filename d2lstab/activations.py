"""The nonlinearities and their slopes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from .plotting import Axes, new_axes
from .results import Result

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


@dataclass(frozen=True, eq=False, repr=False)
class ActivationCurve(Result):
    """An activation and its slope on a grid."""

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


def check_elementwise(f: Activation, *, like: Tensor | None = None) -> None:
    """Returns None for a function that maps each entry of a tensor on its own, the same way every time.

    like: a tensor whose dtype and device f is tried on, torch's default ones without it.
    Raises TypeError if f is not callable or does not return a tensor, ValueError if an entry's answer
    depends on its neighbours (softmax, normalization) or on chance (dropout).
    """
    if not callable(f):
        raise TypeError(f"activation={f!r} of type {type(f).__name__}\nexpected a function of a tensor, such as torch.tanh")
    z = torch.tensor([[-2.5, -0.7, -0.1], [0.3, 1.1, 2.9]])
    z = z if like is None else z.to(like)
    with torch.no_grad():
        together = f(z.clone())
        if not isinstance(together, Tensor):
            raise TypeError(f"activation {_name(f)} returned {type(together).__name__}\nexpected a tensor of the shape it was given")
        if together.shape == z.shape:
            alone = torch.stack([torch.stack([f(entry.reshape(1, 1).clone()).squeeze() for entry in row]) for row in z])
    if together.shape != z.shape or not torch.allclose(together, alone, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise ValueError(
            f"activation {_name(f)} does not treat each entry on its own: f of a {tuple(z.shape)} tensor"
            f" has shape {tuple(together.shape)} or other values than f of its entries\n"
            "expected an elementwise, deterministic function, such as torch.tanh"
        )


def slope(f: Activation, z: Tensor) -> Tensor:
    """The derivative f′(z), entry by entry, of the shape, dtype and device of z.

    At a kink it is what autograd says (0 for ReLU at 0). Raises what `check_elementwise` raises.
    """
    check_elementwise(f, like=z)
    with torch.enable_grad():
        leaf = z.detach().clone().requires_grad_()
        value = f(leaf.clone())  # a copy: an in-place activation may not change a leaf
        if not value.requires_grad:  # a constant, or a step: flat everywhere
            return torch.zeros_like(z)
        (gradient,) = torch.autograd.grad(value.sum(), leaf, materialize_grads=True)
    return gradient


def curve(f: Activation, *, low: float = -8.0, high: float = 8.0, step: float = 0.1) -> ActivationCurve:
    """The values and slopes of f on [low, high), as the source material draws them.

    Raises ValueError unless low < high and step > 0, and what `slope` raises.
    """
    if not (low < high and step > 0):
        raise ValueError(f"low={low}, high={high}, step={step}\nexpected low < high and a positive step")
    x = torch.arange(low, high, step)
    gradient = slope(f, x)
    with torch.no_grad():
        return ActivationCurve(x, f(x.clone()), gradient)


def saturated_share(f: Activation, z: Tensor, *, slope_below: float = 0.01, dim=None) -> Tensor:
    """The share of the entries of z at which |f′| is less than `slope_below`.

    dim: the axes to count over, all of them by default. Raises what `slope` raises.
    """
    flat = slope(f, z).abs() < slope_below
    return flat.to(torch.get_default_dtype()).mean() if dim is None else flat.to(torch.get_default_dtype()).mean(dim)


def dead_units(f: Activation, z: Tensor) -> Tensor:
    """True for each unit whose slope is exactly 0 for every input.

    z: (..., inputs, units), pre-activations over a whole data set; one batch is not enough to call a unit
    dead. Returns (..., units). Raises what `slope` raises.
    """
    return (slope(f, z) == 0).all(-2)


def _name(f: Activation) -> str:
    return getattr(f, "__name__", None) or repr(f)
