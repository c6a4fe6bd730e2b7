"""Updates that rounding swallows, and rounding that does not."""

from math import nan

import torch
from torch import Generator, Tensor

from ..signatures import checked
from .formats import describe, ulp


@checked
def smallest_update(weight: float, dtype: torch.dtype) -> float:
    """Half the distance from a weight to the next larger number of the format.

    An update that makes the weight larger in size is lost below it, and at it in every other case (a tie is
    rounded to the even neighbour). Towards 0 the same holds, or half of it where the weight is a power of two.
    Raises ValueError if the weight is beyond the format.
    """
    return ulp(weight, dtype) / 2


@checked
def lost_share(weights: Tensor, updates: Tensor) -> float:
    """The share of updates, not counting zeros, that leave their weight as it was.

    NaN where all updates are 0, or a weight or an update is not finite.
    Added in the weights' dtype, as an optimizer does; torch adds no float8, so every sum is emulated: taken in float64
    and rounded once. Raises ValueError unless both have one shape.
    """
    if weights.shape != updates.shape:
        raise ValueError(
            f"weights of shape {tuple(weights.shape)}, updates of shape {tuple(updates.shape)}\nexpected one shape"
        )
    if not (weights.isfinite().all() and updates.isfinite().all()):
        return nan
    before, added = weights.double(), updates.to(weights.dtype).double()
    meant = updates.double() != 0
    moved = (before + added).to(weights.dtype).double() != before
    return float((meant & ~moved).sum() / meant.sum())


@checked
def stochastic_round(x: Tensor, dtype: torch.dtype, *, generator: Generator) -> Tensor:
    """x in the format, rounded up or down to a neighbour with the probabilities that make x the mean.

    x: float32 or float64, finite. Draws on the CPU, so a seed means the same roundings on every device.
    Raises ValueError for other dtypes, or where |x| is beyond the format.
    Source: Gupta et al. 2015, arXiv:1502.02551, section 3.
    """
    limits = describe(dtype)
    if x.dtype not in (torch.float32, torch.float64) or not (x.abs() <= limits.max).all():
        raise ValueError(
            f"x of {x.dtype} and size up to {x.abs().max():g}\nexpected float32 or float64, at most {limits.max:g}"
        )
    _, exponent = torch.frexp(x.abs().clamp(min=limits.min_normal))
    spacing = torch.ldexp(torch.full_like(x, limits.eps), exponent - 1)
    steps = x / spacing  # exact: the spacing is a power of two
    chance = torch.rand(x.shape, generator=generator, dtype=torch.float64, device="cpu").to(x.device)
    up = chance < steps - steps.floor()
    return ((steps.floor() + up) * spacing).to(dtype)
