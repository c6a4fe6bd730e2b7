"""Networks whose layers follow one another."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..activations import Activation, check_elementwise
from ..arguments import available_device, floating_dtype, name_of, whole_numbers
from ..initializers import Initializer, initialize_
from ..randomness import streams_kept
from ..signatures import checked

Linear = Callable[[int, int], nn.Module]  # two widths -> a linear map between them
Norm = Callable[[int], nn.Module]  # width -> a normalization over it, such as nn.BatchNorm1d


class Layer(nn.Module):
    """One hidden layer: h ↦ f(W h + b), or f(N(W h + b)) where there is a normalization N.

    linear: W and b. norm: N, None for none.

    >>> Layer(Scale(3.0), nn.Hardtanh())(torch.tensor([0.1, 2.0]))  # the activation comes last
    tensor([0.3000, 1.0000])
    """

    @checked
    def __init__(self, linear: nn.Module, activation: Activation, norm: nn.Module | None = None):
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.activation = activation

    def forward(self, h: Tensor) -> Tensor:
        """What the layer makes of h, (..., fan_in): (..., fan_out)."""
        z = self.linear(h)
        return self.activation(z if self.norm is None else self.norm(z))

    def extra_repr(self) -> str:
        return described(self.activation)


@checked
@streams_kept()  # torch fills every new Linear from the global random stream
def mlp(
    widths: Sequence[int],
    activation: Activation,
    *,
    initializer: Initializer,
    norm: Norm | None = None,
    bias: bool = True,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    """A fully connected network, as a Sequential of its layers, for inputs (..., widths[0]).

    widths: input, hidden layers, output; the last layer is linear. Weights come from the initializer and the
    seed, biases start at 0. norm: a function of a width, such as nn.BatchNorm1d, nn.LayerNorm or nn.RMSNorm; it
    stands between each hidden layer's linear map and its activation. A seed means the same network in every dtype
    and on every device. An activation that is a module is copied into each layer.
    Raises ValueError for fewer than two widths, a width below 1, a bad dtype or device, and what
    `check_elementwise` and `initialize_` raise; TypeError if norm returns no module.

    >>> network = mlp([64, 32, 10], torch.relu, initializer=INITIALIZERS["He"])
    >>> list(dict(network.named_children())), network(torch.ones(5, 64)).shape
    (['layer1', 'output'], torch.Size([5, 10]))
    """
    widths = number_list("widths", widths)
    check_elementwise(activation)
    linear = partial(nn.Linear, bias=bias, device="cpu")
    layers = plain_layers(linear, widths[:-1], activation, norm)
    layers["output"] = linear(widths[-2], widths[-1])
    return drawn(nn.Sequential(layers), initializer, seed, dtype, device)


def number_list(name: str, numbers: Sequence[int], *, at_least: int = 2) -> list[int]:
    """Sizes of layers, in a list. Raises ValueError for fewer than `at_least`, or one below 1."""
    numbers = list(numbers) if isinstance(numbers, (Sequence, range)) and not isinstance(numbers, str) else numbers
    if not isinstance(numbers, list) or len(numbers) < at_least:
        least = ("one", "two")[at_least - 1]
        raise ValueError(f"{name}={numbers!r}\nexpected at least {least}, in a list")
    return [whole_numbers(**{f"{name}[{index}]": number})[0] for index, number in enumerate(numbers)]


def plain_layers(
    linear: Linear, widths: Sequence[int], activation: Activation, norm: Norm | None
) -> OrderedDict[str, nn.Module]:
    """layer1, layer2, … from each width to the next; their weights are still to be drawn."""
    pairs = enumerate(pairwise(widths), 1)
    return OrderedDict(
        (f"layer{index}", Layer(linear(*pair), copy.deepcopy(activation), normalization(norm, pair[1])))
        for index, pair in pairs
    )


def normalization(norm: Norm | None, width: int) -> nn.Module | None:
    """norm(width). Raises TypeError if it is no module."""
    if norm is None:
        return None
    if isinstance(norm, nn.Module) or not callable(norm):
        raise TypeError(f"norm={norm!r}\nexpected a function of the width, such as nn.LayerNorm itself")
    with torch.device("cpu"):  # where networks are made, before they go to their device
        made = norm(width)
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"norm({width}) returned {type(made).__name__}\nexpected a function of the width that returns a module,"
            " such as nn.BatchNorm1d"
        )
    return made


def drawn(
    network: nn.Sequential,
    initializer: Initializer,
    seed: int,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> nn.Sequential:
    """The network with its weights drawn, in this dtype, on this device. Raises ValueError for a bad one."""
    device, dtype = place(dtype, device)
    return initialize_(network, initializer, seed=seed).to(device, dtype)


def place(dtype: torch.dtype | None, device: torch.device | str | None) -> tuple[torch.device, torch.dtype]:
    """Where a network goes. Raises ValueError for a bad dtype or device."""
    return available_device(device), floating_dtype(dtype)


def described(activation: Activation) -> str:
    """What a module says of an activation that is no module itself."""
    return "" if isinstance(activation, nn.Module) else f"activation={name_of(activation)}"
