"""Random weights whose rows, or columns, are orthonormal."""

import torch
from torch import Generator, Tensor

# Saxe et al. 2014, arXiv:1312.6120: torch's own is right. It makes the rows of weight.flatten(1) orthonormal if
# there are at most as many as columns, which keeps the second moment, of a convolution's signal too; a layer with
# more rows keeps the length, and spreads it over more units.
from torch.nn.init import orthogonal_

from .fans import check_weight


@torch.no_grad()
def delta_orthogonal_(weight: Tensor, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight of a convolution, 0 but for its middle tap, which is orthogonal.

    As a layer of stride 1 that keeps the size of its input, it has all singular values equal to gain, borders
    included; `orthogonal_`, which lets a kernel's taps share the length, has them on average only.
    A dense weight is filled as `orthogonal_` fills it.
    Raises ValueError for a weight of fewer than 2 dimensions.
    Source: Xiao et al. 2018, arXiv:1806.05393, algorithm 1.
    """
    check_weight(weight)
    if weight.dim() < 2:
        raise ValueError(f"weight of shape {tuple(weight.shape)}\nexpected (fan_out, fan_in, *kernel)")
    middle = (slice(None), slice(None), *[size // 2 for size in weight.shape[2:]])
    drawn = orthogonal_(weight.new_empty(weight.shape[:2]), gain=gain, generator=generator)
    weight.zero_()[middle] = drawn
    return weight
