"""Second moments of every size, as logarithms."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..plotting import Axes, line_with_band, new_axes
from ..results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Propagation(Result):
    """Second moments of activations and of their gradients, layer by layer.

    >>> sweep = depth_sweep(lecun_normal_, torch.relu, depth=10, width=64)
    >>> bool((sweep.backward[:, 0] < -4).all())  # LeCun's weights halve a gradient at each ReLU
    True
    >>> ax = sweep.plot(direction="backward", label="8 networks")
    """

    forward: Tensor  # (seeds, depth + 1), natural log of the mean squared activation; entry 0 is the input
    backward: Tensor  # (seeds, depth + 1), natural log of the mean squared gradient; entry `depth` is the output
    interrupted: bool = False  # whether the sweep was stopped by hand; seeds that it did not reach are NaN

    def plot(self, ax: Axes | None = None, *, direction: str = "forward", **style: Any) -> Axes:
        """Axes with the second moment against depth in powers of ten, `direction` "forward" or "backward".

        Raises ValueError for another direction.
        """
        labels = {"forward": "log₁₀ mean squared activation", "backward": "log₁₀ mean squared gradient"}
        if direction not in labels:
            raise ValueError(f"direction={direction!r}\nexpected 'forward' or 'backward'")
        ax = new_axes(ax)
        ax.set(xlabel="layer", ylabel=labels[direction])
        moments = getattr(self, direction)
        return line_with_band(ax, torch.arange(moments.shape[-1], device="cpu"), moments / log(10), **style)


def gathered(done: Sequence[Tensor], seeds: int) -> Propagation:
    """The moments of each seed, (2, depth + 1), as one result; the last ones may be missing."""
    moments = torch.stack(list(done), dim=1)
    missing = seeds - moments.shape[1]
    forward, backward = F.pad(moments, (0, 0, 0, missing), value=torch.nan)
    return Propagation(forward, backward, missing > 0)


def near_one(signal: Tensor, exponent: Tensor | float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """A signal · 2^exponent as one of size about 1, its exponent, and log₂ of its root mean square.

    A power of 2 changes no digit of a float, so carrying the size apart costs no rounding.
    """
    rms = torch.linalg.vector_norm(signal, dim=(-2, -1), dtype=torch.float64)  # a square may not fit float32
    size = (rms / (signal.shape[-1] * signal.shape[-2]) ** 0.5).log2()
    power = size.round().clamp(-126, 126)  # powers that float32 can hold; a signal of 0 stays 0, at −∞
    dtype = at_least_float32(signal.dtype)
    return signal.to(dtype) * power.neg().exp2().to(dtype)[..., None, None], exponent + power, exponent + size


def log_square(sizes: Sequence[Tensor]) -> Tensor:
    """ln of the second moments, (..., depth + 1), from log₂ of the root mean squares."""
    return 2 * log(2) * torch.stack(torch.broadcast_tensors(*sizes), dim=-1)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Half precision is for products: a slope or a square of an activation need not fit its range."""
    return torch.promote_types(dtype, torch.float32)
