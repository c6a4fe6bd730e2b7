"""Plain networks to experiment on."""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from .activations import Activation, check_elementwise
from .arguments import available_device, floating_dtype, name_of, whole_numbers
from .initializers import Initializer, initialize_


class Layer(nn.Module):
    """One hidden layer: h ↦ f(W h + b)."""

    def __init__(self, linear: nn.Module, activation: Activation):
        super().__init__()
        self.linear = linear
        self.activation = activation

    def forward(self, h: Tensor) -> Tensor:
        return self.activation(self.linear(h))

    def extra_repr(self) -> str:
        return "" if isinstance(self.activation, nn.Module) else f"activation={name_of(self.activation)}"


def mlp(
    widths: Sequence[int],
    activation: Activation,
    *,
    initializer: Initializer,
    bias: bool = True,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    """A fully connected network, as a Sequential of its layers, for inputs (..., widths[0]).

    widths: input, hidden layers, output; the last layer is linear. Weights come from the initializer and the
    seed, biases start at 0. A seed means the same network in every dtype and on every device. An activation that
    is a module is copied into each layer.
    Raises ValueError for fewer than two widths, a width below 1, a bad dtype or device, and what
    `check_elementwise` and `initialize_` raise.
    """
    widths = list(widths) if isinstance(widths, (Sequence, range)) and not isinstance(widths, str) else widths
    if not isinstance(widths, list) or len(widths) < 2:
        raise ValueError(f"widths={widths!r}\nexpected at least two, in a list: the input and the output")
    widths = [whole_numbers(**{f"widths[{index}]": width})[0] for index, width in enumerate(widths)]
    check_elementwise(activation)
    dtype, device = floating_dtype(dtype), available_device(device)

    # torch would fill every new Linear from the global random stream, only for initialize_ to fill it again.
    linear = partial(nn.utils.skip_init, nn.Linear, bias=bias, dtype=dtype, device="cpu")
    *hidden, output = [linear(fan_in, fan_out) for fan_in, fan_out in pairwise(widths)]
    layers = [Layer(each, copy.deepcopy(activation)) for each in hidden]
    named = OrderedDict((f"layer{index}", layer) for index, layer in enumerate(layers, 1)) | OrderedDict(output=output)
    return initialize_(nn.Sequential(named), initializer, seed=seed).to(device, dtype)
