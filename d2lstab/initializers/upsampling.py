"""Weights that put several outputs where one input was."""

import torch
from torch import Generator, Tensor

from ..arguments import whole_numbers
from ..signatures import checked
from .dense import he_normal_
from .filling import Initializer, filled_by


@checked
@torch.no_grad()
def icnr_(
    weight: Tensor, upscale: int, *, inner: Initializer = he_normal_, generator: Generator | None = None
) -> Tensor:
    """The weight before an nn.PixelShuffle(upscale), filled so that the shuffled output has no checkerboard.

    weight: (outputs · upscale², inputs, ...) of a convolution or linear map; of a grouped convolution, each group's
    outputs divisible by upscale². inner fills one weight of each upscale², and the others are its copies: the result
    is nearest-neighbour upsampling of an ordinary convolution, as long as the bias starts at 0.
    Raises ValueError for a number of outputs that upscale² does not divide, a scalar or vector, upscale below 1, and
    what inner raises.
    Source: Aitken et al. 2017, arXiv:1707.02937, section 3.

    >>> weight = icnr_(torch.empty(8, 3, 3, 3), upscale=2, generator=seeded(0))
    >>> torch.equal(weight[0], weight[3]), torch.equal(weight[3], weight[4])  # four copies of each of two
    (True, False)
    """
    (upscale,) = whole_numbers(upscale=upscale)
    copies = upscale**2
    if weight.dim() < 2 or weight.shape[0] % copies:
        raise ValueError(
            f"weight of shape {tuple(weight.shape)} for upscale={upscale}\n"
            f"expected (outputs, inputs, ...) with outputs divisible by upscale² = {copies}"
        )
    kernel = filled_by(inner, torch.empty_like(weight[::copies]), generator)
    # PixelShuffle takes upscale² channels in a row for one output: each repeated, not the whole list over again.
    return weight.copy_(kernel.repeat_interleave(copies, dim=0))
