"""Updates that rounding swallows, and roundings that keep more."""

from math import frexp, nan

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ..arguments import whole_numbers
from ..signatures import checked
from .formats import describe, ulp


@checked
def smallest_update(weight: float, dtype: torch.dtype) -> float:
    """Half the distance from a weight to the next larger number of the format.

    An update that makes the weight larger in size is lost below it, and at it in every other case (a tie is
    rounded to the even neighbour). Towards 0 the same holds, or half of it where the weight is a power of two.
    Raises ValueError if the weight is beyond the format.

    >>> smallest_update(1.0, torch.bfloat16)  # half of eps, 2⁻⁷
    0.00390625
    """
    return ulp(weight, dtype) / 2


@checked
def lost_share(weights: Tensor, updates: Tensor) -> float:
    """The share of updates, not counting zeros, that leave their weight as it was.

    NaN where all updates are 0, or a weight or an update is not finite.
    Added in the weights' dtype, as an optimizer does; torch adds no float8, so every sum is emulated: taken in float64
    and rounded once. Raises ValueError unless both have one shape.

    >>> lost_share(torch.ones(4), torch.tensor([1e-9, 1e-8, 1e-7, 1e-6]))  # below half an eps, 6e-8, they are lost
    0.5
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

    >>> x = torch.full((10_000,), 1 + 2**-9)  # a quarter of the way from 1 to the next bfloat16
    >>> rounded = stochastic_round(x, torch.bfloat16, generator=seeded(0))
    >>> rounded.unique().tolist(), round(float((rounded > 1).double().mean()), 2)
    ([1.0, 1.0078125], 0.25)
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


@checked
def block_round(x: Tensor, dtype: torch.dtype, *, block: int = 32) -> Tensor:
    """x rounded to the format after each block has been lifted to the format's top, and lowered again; of x's dtype.

    block: so many neighbours along the last axis share one factor, the largest power of two that leaves all of them
    within the format. The last block may be shorter.
    Raises TypeError unless x is floating, ValueError for x without axes or with entries that are not finite, a block
    below 1, and a dtype outside `FLOAT_FORMATS`.
    Source: Rouhani et al. 2023, arXiv:2310.10537, whose factor may cut off the largest entries; this one does not.

    >>> tiny = torch.tensor([2.0**-30, 2.0**-28])
    >>> tiny.to(torch.float16).count_nonzero(), torch.equal(block_round(tiny, torch.float16), tiny)
    (tensor(0), True)
    """
    limits = describe(dtype)
    (block,) = whole_numbers(block=block)
    if not x.is_floating_point():
        raise TypeError(f"x of {x.dtype}\nexpected a tensor of floats")
    if x.dim() == 0 or not x.isfinite().all():
        raise ValueError(f"x of shape {tuple(x.shape)}, finite: {bool(x.isfinite().all())}\nexpected a finite tensor")
    blocks = F.pad(x.double(), (0, -x.shape[-1] % block)).unflatten(-1, (-1, block))
    mantissa, exponent = torch.frexp(blocks.abs().amax(-1, keepdim=True))
    top, highest = frexp(limits.max)
    lift = torch.where(mantissa == 0, 0, highest - exponent - (mantissa > top).int())
    rounded = torch.ldexp(torch.ldexp(blocks, lift).to(dtype).double(), -lift)
    return rounded.flatten(-2)[..., : x.shape[-1]].to(x.dtype)
