"""Loss scaling: the powers of two that keep gradients inside a format."""

from math import frexp, inf

import torch

from ..signatures import checked
from .formats import describe


@checked
def smallest_loss_scale(gradient: float, dtype: torch.dtype, *, normal: bool = False) -> float:
    """The smallest power of two, 1 at least, that lifts a gradient to the smallest positive number of the format.

    A gradient of half that number or less becomes 0. normal=True lifts it to the smallest number with full precision.
    Raises ValueError for a gradient that is 0 or not finite.
    Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2.

    >>> smallest_loss_scale(1e-9, torch.float16), smallest_loss_scale(1e-9, torch.float16, normal=True)
    (64.0, 65536.0)
    """
    limits = describe(dtype)
    _, exponent = _split(gradient)
    # The limit is a power of two, so of the gradient only its own power of two counts.
    _, wanted = _split(limits.min_normal if normal else limits.min_subnormal)
    return 2.0 ** max(0, wanted - exponent)


@checked
def largest_loss_scale(gradient: float, dtype: torch.dtype) -> float:
    """The largest power of two, 2¹⁰²³ at most, that leaves a gradient finite; below 1 where it is not so without.

    gradient: the largest one, counting those of the activations, which are scaled as well.
    Raises ValueError for a gradient that is 0 or not finite.

    >>> largest_loss_scale(1.0, torch.float16)  # 65536 is beyond the largest number, 65504
    32768.0
    """
    mantissa, exponent = _split(gradient)
    largest, highest = _split(describe(dtype).max)
    return 2.0 ** min(1023, highest - exponent - (mantissa > largest))


def _split(gradient: float) -> tuple[float, int]:
    """The mantissa, from ½ to 1, and the exponent of the gradient's size."""
    if not 0 < abs(gradient) < inf:
        raise ValueError(f"gradient={gradient}\nexpected a finite number other than 0")
    return frexp(abs(gradient))
