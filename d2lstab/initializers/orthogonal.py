"""Random weights whose rows, or columns, are orthonormal."""

import torch
from torch import Generator, Tensor, nn

from ..signatures import checked
from .fans import check_matrix, signed_scale_of


@checked
def orthogonal_(weight: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight, filled with gain times orthonormal rows of weight.flatten(1), or columns where there are fewer.

    torch's own, which is right. With at most as many rows as columns it keeps the second moment, of a convolution's
    signal too; a layer with more rows keeps the length, and spreads it over more units.
    Raises ValueError for a gain that is no finite number or a weight of fewer than 2 dimensions, before anything is written.
    Source: Saxe et al. 2014, arXiv:1312.6120.

    >>> weight = orthogonal_(torch.empty(3, 5), generator=seeded(0))
    >>> torch.allclose(weight @ weight.T, torch.eye(3), atol=1e-6)
    True
    """
    check_matrix(weight)
    return nn.init.orthogonal_(weight, signed_scale_of(gain=gain), generator=generator)


@checked
@torch.no_grad()
def delta_orthogonal_(weight: Tensor, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight of a convolution, 0 but for its middle tap, which is orthogonal.

    As a layer of stride 1 that keeps the size of its input, it has all singular values equal to gain, borders
    included; `orthogonal_`, which lets a kernel's taps share the length, has them on average only.
    A dense weight is filled as `orthogonal_` fills it.
    Raises what `orthogonal_` raises.
    Source: Xiao et al. 2018, arXiv:1806.05393, algorithm 1.

    >>> weight = delta_orthogonal_(torch.empty(4, 4, 3, 3), generator=seeded(0))
    >>> middle = weight[:, :, 1, 1]
    >>> torch.allclose(middle @ middle.T, torch.eye(4), atol=1e-6), int(weight.count_nonzero())
    (True, 16)
    """
    check_matrix(weight)
    signed_scale_of(gain=gain)
    middle = (slice(None), slice(None), *[size // 2 for size in weight.shape[2:]])
    drawn = orthogonal_(weight.new_empty(weight.shape[:2]), gain=gain, generator=generator)
    weight.zero_()[middle] = drawn
    return weight
