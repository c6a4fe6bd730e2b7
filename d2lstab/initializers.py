"""Fill a weight with random numbers of the right scale; the contract is torch.nn.init's."""

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from .arguments import whole_numbers
from .randomness import seeded

Initializer = Callable[..., Tensor]  # (weight, *, generator) -> the same weight, filled in place

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Fans(NamedTuple):
    """How many terms are summed per output in the forward pass, and per input in the backward pass."""

    fan_in: float
    fan_out: float


def fans(weight_or_module: Tensor | nn.Module) -> Fans:
    """How many terms each output sums forward (fan-in), and each input's gradient sums backward (fan-out).

    A weight (fan_out, fan_in, *kernel) alone is read as torch reads it: as a dense layer or an ungrouped
    convolution of stride 1. A Linear or convolution module is read exactly: groups, stride and transposition
    count (torch swaps the fans of a transposed convolution and ignores its stride and groups). With a stride
    the numbers are averages over positions; the borders are left out of account.
    Raises ValueError for weights of fewer than 2 dimensions or empty ones, TypeError for other modules.
    """
    if isinstance(weight_or_module, (*_CONVOLUTIONS, *_TRANSPOSED)):
        return _convolution_fans(weight_or_module)
    weight = weight_or_module.weight if isinstance(weight_or_module, nn.Linear) else weight_or_module
    if not isinstance(weight, Tensor):
        raise TypeError(f"fans of {type(weight).__name__}\nexpected a weight, or a Linear or convolution module")
    if weight.dim() < 2 or weight.numel() == 0:
        raise ValueError(f"weight of shape {tuple(weight.shape)}\nexpected (fan_out, fan_in, *kernel) without a 0")
    kernel = weight[0, 0].numel()
    return Fans(weight.shape[1] * kernel, weight.shape[0] * kernel)


def _convolution_fans(module: nn.Module) -> Fans:
    kernel, stride = torch.Size(module.kernel_size).numel(), torch.Size(module.stride).numel()
    into, out_of = module.in_channels / module.groups * kernel, module.out_channels / module.groups * kernel
    # A stride s leaves one output for s inputs; transposed, one input for s outputs.
    return Fans(into / stride, out_of) if isinstance(module, _TRANSPOSED) else Fans(into, out_of / stride)


@torch.no_grad()
def normal_(weight: Tensor, *, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight, filled with N(0, std²); the scale ignores its shape. Raises ValueError for a negative std."""
    if not std >= 0:
        raise ValueError(f"std={std}\nexpected a number of at least 0")
    return weight.normal_(0, std, generator=generator)


@torch.no_grad()
def lecun_normal_(weight: Tensor, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight, filled with N(0, gain² / fan_in): keeps the second moment of a linear signal.

    Raises what `fans` raises. Source: LeCun et al. 1998, Efficient BackProp, §4.6.
    """
    return weight.normal_(0, gain / sqrt(fans(weight).fan_in), generator=generator)


@torch.no_grad()
def he_normal_(weight: Tensor, *, gain: float = sqrt(2), generator: Generator | None = None) -> Tensor:
    """The weight, filled with N(0, gain² / fan_in): keeps the second moment through a ReLU.

    Raises what `fans` raises. Source: He et al. 2015, arXiv:1502.01852, eq. 10.
    """
    return lecun_normal_(weight, gain=gain, generator=generator)


@torch.no_grad()
def he_uniform_(weight: Tensor, *, gain: float = sqrt(2), generator: Generator | None = None) -> Tensor:
    """The weight, filled uniformly on ±gain √(3 / fan_in), which has the variance of `he_normal_`.

    Raises what `fans` raises. Source: He et al. 2015, arXiv:1502.01852.
    """
    bound = gain * sqrt(3 / fans(weight).fan_in)
    return weight.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def torch_default_(weight: Tensor, *, generator: Generator | None = None) -> Tensor:
    """The weight, filled as torch fills Linear and convolutions: uniformly on ±1/√fan_in.

    Its variance is 1/(3 fan_in), a sixth of He's. Raises what `fans` raises.
    """
    bound = 1 / sqrt(fans(weight).fan_in)
    return weight.uniform_(-bound, bound, generator=generator)


# Xavier (Glorot and Bengio 2010, eq. 16 and the normal of the same variance) and orthogonal (Saxe et al. 2014,
# arXiv:1312.6120): torch's own are right.
xavier_normal_ = nn.init.xavier_normal_
xavier_uniform_ = nn.init.xavier_uniform_
orthogonal_ = nn.init.orthogonal_

INITIALIZERS: dict[str, Initializer] = {
    "N(0, 1)": normal_,
    "N(0, 0.01²)": partial(normal_, std=0.01),
    "torch default": torch_default_,
    "LeCun": lecun_normal_,
    "Xavier": xavier_normal_,
    "Xavier uniform": xavier_uniform_,
    "He": he_normal_,
    "He uniform": he_uniform_,
    "orthogonal": orthogonal_,
}


def draw_weight(initializer: Initializer, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """A new float32 CPU weight of this shape, filled by the initializer.

    One dtype and one device for the draw, so that a seed means the same weights in every dtype and place.
    Raises TypeError if the initializer does not return a tensor, ValueError if its shape is another.
    """
    if not callable(initializer):
        raise TypeError(f"initializer={initializer!r}\nexpected a function of a weight, such as he_normal_")
    weight = torch.empty(shape, dtype=torch.float32)
    filled = initializer(weight, generator=generator)
    name = getattr(initializer, "__name__", repr(initializer))
    if not isinstance(filled, Tensor):
        raise TypeError(
            f"initializer {name} returned {type(filled).__name__}\nexpected the weight it was given, filled"
        )
    if filled.shape != weight.shape:
        raise ValueError(
            f"initializer {name} returned shape {tuple(filled.shape)} for a weight of shape {tuple(shape)}\n"
            "expected the same shape"
        )
    return filled.detach()


@torch.no_grad()
def initialize_(model: nn.Module, initializer: Initializer, *, seed: int = 0) -> nn.Module:
    """The model, each Linear and convolution weight filled by the initializer and its bias set to 0.

    Other parameters are left alone. Every weight is drawn, in order, from one CPU generator before any is
    written: if the initializer fails, the model is as it was.
    Raises ValueError if the model has no such weight, and what `draw_weight` raises.
    """
    whole_numbers(seed=seed, at_least=0)
    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED))]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Linear or convolution weight\nexpected at least one")
    generator = seeded(seed)
    drawn = [draw_weight(initializer, tuple(layer.weight.shape), generator) for layer in layers]
    for layer, weight in zip(layers, drawn):
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.zero_()
    return model
