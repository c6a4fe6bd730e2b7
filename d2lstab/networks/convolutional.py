"""The convolutional siblings: plain and residual."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ..activations import Activation, check_elementwise
from ..arguments import whole_numbers
from ..initializers import Initializer
from ..randomness import streams_kept
from ..signatures import checked
from .plain import Norm, drawn, number_list, plain_layers
from .residual import PreActivation, between, pre, residual_blocks, start_as_identity_


def convolution(kernel_size: int, **settings: Any) -> Callable[[int, int], nn.Conv2d]:
    """A function of two numbers of channels that makes a convolution which keeps the size of its pictures.

    Raises ValueError for an even or negative kernel size.
    """
    (kernel_size,) = whole_numbers(kernel_size=kernel_size)
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size={kernel_size}\nexpected an odd one, so that pictures keep their size")
    return partial(nn.Conv2d, kernel_size=kernel_size, padding=kernel_size // 2, device="cpu", **settings)


@checked
@streams_kept()  # torch fills every new convolution from the global random stream
def convnet(
    channels: Sequence[int],
    activation: Activation,
    *,
    initializer: Initializer,
    outputs: int = 10,
    kernel_size: int = 3,
    norm: Norm | None = None,
    bias: bool = True,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    """A convolutional network for pictures (batch, channels[0], height, width), as a Sequential of its layers.

    channels: input and hidden layers; the pictures keep their size, their mean over positions goes through a linear
    map to the outputs. norm: a function of the number of channels, such as nn.BatchNorm2d. For the rest see `mlp`.
    Raises ValueError for fewer than two numbers of channels, one below 1, an even kernel size, and what `mlp` raises.

    >>> network = convnet([1, 8, 16], torch.relu, initializer=INITIALIZERS["He"])
    >>> list(dict(network.named_children())), network(torch.ones(5, 1, 8, 8)).shape
    (['layer1', 'layer2', 'mean', 'output'], torch.Size([5, 10]))
    """
    channels = number_list("channels", channels)
    (outputs,) = whole_numbers(outputs=outputs)
    check_elementwise(activation)
    layers = plain_layers(convolution(kernel_size, bias=bias), channels, activation, norm)
    layers |= OrderedDict(mean=mean_over_positions(), output=nn.Linear(channels[-1], outputs, bias=bias, device="cpu"))
    return drawn(nn.Sequential(layers), initializer, seed, dtype, device)


@checked
@streams_kept()
def residual_convnet(
    channels: int,
    blocks: int,
    activation: Activation,
    *,
    initializer: Initializer,
    inputs: int = 1,
    outputs: int = 10,
    kernel_size: int = 3,
    layers: int = 2,
    norm: Norm | None = None,
    post_norm: bool = False,
    branch_scale: float = 1.0,
    train_scale: bool = False,
    zero_last: bool = False,
    fixup: bool = False,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    """A residual network for pictures (batch, inputs, height, width), as a Sequential: input, block1, …, output.

    channels: of every block, whose number is blocks. All else, layers, post_norm, branch_scale, train_scale, zero_last
    and fixup, is as in `residual_mlp`, with convolutions that keep the size of the pictures in place of linear maps; the mean over
    positions stands before the last activation's linear map. norm: a function of the number of channels, such as
    nn.BatchNorm2d. Raises ValueError for an even kernel size, and what `residual_mlp` raises.

    >>> network = residual_convnet(8, 2, torch.relu, initializer=INITIALIZERS["He"], zero_last=True)
    >>> h = torch.ones(5, 8, 6, 6)
    >>> torch.equal(network.block1(h), h), network(torch.ones(5, 1, 6, 6)).shape  # each block starts as the identity
    (True, torch.Size([5, 10]))
    """
    channels, inputs, outputs = whole_numbers(channels=channels, inputs=inputs, outputs=outputs)
    conv = convolution(kernel_size)
    network = residual_blocks(
        conv, channels, blocks, activation, layers, norm, post_norm, branch_scale, train_scale, fixup
    )
    head = nn.Sequential(OrderedDict(mean=mean_over_positions(), linear=nn.Linear(channels, outputs, device="cpu")))
    output = PreActivation(copy.deepcopy(activation), head, pre(norm, post_norm, channels))
    network = drawn(between(conv(inputs, channels), network, output), initializer, seed, dtype, device)
    return start_as_identity_(network, blocks, layers, zero_last, fixup)


def mean_over_positions() -> nn.Sequential:
    """(batch, channels, height, width) ↦ (batch, channels)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
