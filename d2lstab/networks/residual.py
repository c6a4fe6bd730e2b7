"""Networks whose blocks add to what they are given."""

import copy
from collections import OrderedDict
from functools import partial
from math import inf

import torch
from torch import Tensor, nn

from ..activations import Activation, check_elementwise
from ..arguments import whole_numbers
from ..initializers import Initializer, fixup_factor
from ..initializers.filling import layers_with_weights
from ..randomness import streams_kept
from ..signatures import checked
from .plain import Linear, Norm, described, drawn, normalization


class PreActivation(nn.Module):
    """A linear map of an activation: h ↦ W f(h) + b, or W f(N(h)) + b where there is a normalization N.

    linear: W and b. norm: N, None for none.
    Source: He et al. 2016, arXiv:1603.05027, fig. 4e.

    >>> PreActivation(nn.Hardtanh(), Scale(3.0))(torch.tensor([0.1, 2.0]))  # the linear map comes last
    tensor([0.3000, 3.0000])
    """

    @checked
    def __init__(self, activation: Activation, linear: nn.Module, norm: nn.Module | None = None):
        super().__init__()
        self.norm = norm
        self.activation = activation
        self.linear = linear

    def forward(self, h: Tensor) -> Tensor:
        """What the layer makes of h, (..., fan_in): (..., fan_out)."""
        return self.linear(self.activation(h if self.norm is None else self.norm(h)))

    def extra_repr(self) -> str:
        return described(self.activation)


class Scale(nn.Module):
    """One factor, trained or fixed: h ↦ s h.

    factor: s, or where it starts. train: whether it is a parameter.

    >>> Scale(0.5)(torch.ones(2))
    tensor([0.5000, 0.5000])
    >>> len(list(Scale(0.5).parameters())), len(list(Scale(0.5, train=True).parameters()))
    (0, 1)
    """

    @checked
    def __init__(self, factor: float, *, train: bool = False):
        super().__init__()
        number = float(factor)
        self.factor: nn.Parameter | float = nn.Parameter(torch.tensor(number, device="cpu")) if train else number

    def forward(self, h: Tensor) -> Tensor:
        """The factor times h, of the same shape."""
        return self.factor * h

    def extra_repr(self) -> str:
        factor = float(torch.as_tensor(self.factor, device="cpu").detach())
        return f"factor={factor:g}{', trained' * isinstance(self.factor, nn.Parameter)}"


class Block(nn.Module):
    """A residual block: h ↦ N(a h + s B(h)), with a branch B, a factor s, a skip a = 1, and often no normalization N.

    branch: B, of the same shape as its input. scale: the module of s, such as `Scale`; None for 1. norm: N, None for
    none. skip: a.

    >>> h, branch = torch.ones(5, 4), nn.Linear(4, 4)
    >>> torch.equal(Block(branch, Scale(0.0))(h), h), torch.equal(Block(branch)(h), h + branch(h))
    (True, True)
    """

    @checked
    def __init__(
        self, branch: nn.Module, scale: nn.Module | None = None, norm: nn.Module | None = None, *, skip: float = 1.0
    ):
        super().__init__()
        self.branch = branch
        self.scale = scale
        self.norm = norm
        self.skip = skip

    def forward(self, h: Tensor) -> Tensor:
        """What the block makes of h, of the same shape."""
        added = self.branch(h)
        h = self.skip * h + (added if self.scale is None else self.scale(added))
        return h if self.norm is None else self.norm(h)

    def extra_repr(self) -> str:
        return "" if self.skip == 1 else f"skip={self.skip:g}"


@checked
@streams_kept()
def residual_mlp(
    width: int,
    blocks: int,
    activation: Activation,
    *,
    initializer: Initializer,
    inputs: int = 64,
    outputs: int = 10,
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
    """A residual network for inputs (..., inputs), as a Sequential: input, block1, …, output.

    The input is a linear map; each block adds a branch of `layers` linear maps, each after an activation; the output
    is one more activation and linear map. So the network has 2 + blocks · layers linear maps.

    norm: a function of a width, such as nn.LayerNorm. It stands before each activation, or with post_norm after
    each addition.
    branch_scale: the factor of each branch, such as 1/√blocks. With train_scale it is a parameter, and
    branch_scale=0 is SkipInit or ReZero.
    zero_last: the last linear map of each branch starts at 0, and each block as the identity.
    fixup: zero_last, the output too, and the other weights of a branch times `fixup_factor(blocks, layers)`. Fixup's
    scalar biases and factors are left to the layers' own biases.

    Raises ValueError for sizes below 1, post_norm without norm, fixup with norm or with one layer per branch, a factor
    that is not finite, and what `mlp` raises; TypeError if norm returns no module or the factor is no number.
    Sources: He et al. 2016, arXiv:1603.05027; Zhang et al. 2019, arXiv:1901.09321 (Fixup); De and Smith 2020,
    arXiv:2002.10444 (SkipInit); Bachlechner et al. 2021, arXiv:2003.04887 (ReZero).

    >>> network = residual_mlp(32, 2, torch.relu, initializer=INITIALIZERS["He"], zero_last=True)
    >>> list(dict(network.named_children()))
    ['input', 'block1', 'block2', 'output']
    >>> h = torch.ones(5, 32)
    >>> torch.equal(network.block1(h), h)  # each block starts as the identity
    True
    """
    width, inputs, outputs = whole_numbers(width=width, inputs=inputs, outputs=outputs)
    linear = partial(nn.Linear, device="cpu")
    network = residual_blocks(
        linear, width, blocks, activation, layers, norm, post_norm, branch_scale, train_scale, fixup
    )
    output = PreActivation(copy.deepcopy(activation), linear(width, outputs), pre(norm, post_norm, width))
    network = drawn(between(linear(inputs, width), network, output), initializer, seed, dtype, device)
    return start_as_identity_(network, blocks, layers, zero_last, fixup)


def between(first: nn.Module, blocks: OrderedDict[str, Block], output: nn.Module) -> nn.Sequential:
    """input, the blocks, output."""
    return nn.Sequential(OrderedDict(input=first, **blocks, output=output))


def residual_blocks(
    linear: Linear,
    width: int,
    blocks: int,
    activation: Activation,
    layers: int,
    norm: Norm | None,
    post_norm: bool,
    branch_scale: float,
    train_scale: bool,
    fixup: bool,
) -> OrderedDict[str, Block]:
    """block1, block2, …, whose weights are still to be drawn."""
    width, blocks, layers = whole_numbers(width=width, blocks=blocks, layers=layers)
    check_elementwise(activation)
    if post_norm and norm is None:
        raise ValueError("post_norm=True without norm\nexpected norm=, such as nn.LayerNorm")
    if fixup and norm is not None:
        raise ValueError(f"fixup=True with norm={norm!r}\nexpected one of them: Fixup stands in for normalization")
    if not isinstance(branch_scale, (int, float)):
        raise TypeError(f"branch_scale={branch_scale!r} of type {type(branch_scale).__name__}\nexpected a number")
    if not -inf < branch_scale < inf:
        raise ValueError(f"branch_scale={branch_scale}\nexpected a finite number")
    if fixup:
        fixup_factor(blocks, layers)

    def block() -> Block:
        branch = [
            PreActivation(copy.deepcopy(activation), linear(width, width), pre(norm, post_norm, width))
            for _ in range(layers)
        ]
        scale = Scale(branch_scale, train=train_scale) if train_scale or branch_scale != 1 else None
        return Block(nn.Sequential(*branch), scale, normalization(norm, width) if post_norm else None)

    return OrderedDict((f"block{index}", block()) for index in range(1, blocks + 1))


def pre(norm: Norm | None, post_norm: bool, width: int) -> nn.Module | None:
    """The normalization before an activation, if there is one there."""
    return None if post_norm else normalization(norm, width)


@torch.no_grad()
def start_as_identity_(network: nn.Sequential, blocks: int, layers: int, zero_last: bool, fixup: bool) -> nn.Sequential:
    """The network, its branches with their last weights at 0 where asked for, and the others as Fixup has them."""
    branches = [layers_with_weights(module.branch).values() for module in network if isinstance(module, Block)]
    for *first, last in branches:
        if zero_last or fixup:
            last.weight.zero_()
        for layer in first if fixup else []:
            layer.weight.mul_(fixup_factor(blocks, layers))
    if fixup:
        *_, output = layers_with_weights(network).values()
        output.weight.zero_()
    return network
