"""Plain networks to experiment on."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .activations import Activation, check_elementwise
from .arguments import available_device, floating_dtype, whole_numbers
from .initializers import Initializer, initialize_


class Layer(nn.Module):
    """One hidden layer: h ↦ f(W h + b)."""

    def __init__(self, fan_in: int, fan_out: int, activation: Activation, *, bias: bool = True):
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out, bias=bias)
        self.activation = activation

    def forward(self, h: Tensor) -> Tensor:
        return self.activation(self.linear(h))


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
    seed, biases start at 0. A seed means the same network in every dtype and on every device.
    Raises ValueError for fewer than two widths, a width below 1, a bad dtype or device, and what
    `check_elementwise` and `initialize_` raise.
    """
    if len(widths) < 2:
        raise ValueError(f"widths={list(widths)}\nexpected at least two: the input and the output")
    widths = [whole_numbers(**{f"widths[{index}]": width})[0] for index, width in enumerate(widths)]
    check_elementwise(activation)
    dtype, device = floating_dtype(dtype), available_device(device)
    with torch.random.fork_rng(devices=[]):  # torch fills every new Linear from the global stream
        layers = [Layer(m, n, activation, bias=bias) for m, n in zip(widths[:-2], widths[1:-1])]
        output = nn.Linear(widths[-2], widths[-1], bias=bias)
    named = OrderedDict((f"layer{index}", layer) for index, layer in enumerate(layers, 1)) | OrderedDict(output=output)
    return initialize_(nn.Sequential(named).to(dtype), initializer, seed=seed).to(device)
