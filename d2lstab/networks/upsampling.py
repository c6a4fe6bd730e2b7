"""Networks whose output is a larger picture."""

from collections.abc import Sequence

import torch
from torch import nn

from ..activations import Activation, check_elementwise
from ..arguments import whole_numbers
from ..initializers import Initializer
from ..initializers.filling import draw_for
from ..randomness import seeded, streams_kept
from ..signatures import checked
from .convolutional import convolution
from .plain import drawn, number_list, plain_layers


@checked
@streams_kept()  # torch fills every new convolution from the global random stream
def upsampler(
    channels: Sequence[int],
    upscale: int,
    activation: Activation,
    *,
    initializer: Initializer,
    expand: Initializer | None = None,
    kernel_size: int = 3,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    """A sub-pixel network: (batch, channels[0], height, width) to pictures of as many channels, `upscale` times as large.

    channels: the picture's and the hidden layers'. After these, `expand` is a convolution to upscale² channels for
    each of the picture's, and `shuffle`, an nn.PixelShuffle, lays them out. expand: its initializer, such as
    partial(icnr_, upscale=2); None takes the other one.
    Raises ValueError for sizes below 1, an even kernel size, and what `mlp` raises.
    Source: Shi et al. 2016, arXiv:1609.05158.

    >>> network = upsampler([1, 8], upscale=2, activation=torch.relu, initializer=INITIALIZERS["He"])
    >>> network(torch.ones(3, 1, 8, 8)).shape
    torch.Size([3, 1, 16, 16])
    """
    channels = number_list("channels", channels, at_least=1)
    (upscale,) = whole_numbers(upscale=upscale)
    check_elementwise(activation)
    conv = convolution(kernel_size)
    layers = plain_layers(conv, channels, activation, None)
    layers["expand"] = expanding = conv(channels[-1], channels[0] * upscale**2)
    layers["shuffle"] = nn.PixelShuffle(upscale)
    network = drawn(nn.Sequential(layers), initializer, seed, dtype, device)
    if expand is not None:
        with torch.no_grad():
            expanding.weight.copy_(draw_for(expanding, expand, seeded(2**33 + seed)))
    return network
