"""How many terms a layer sums."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..arguments import is_number, not_negative
from ..signatures import checked

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Convolution = nn.modules.conv._ConvNd  # their common base


class Fans(NamedTuple):
    """How many terms are summed per output in the forward pass, and per input in the backward pass.

    >>> fan_in, fan_out = fans(nn.Linear(64, 10))
    >>> fan_in, fan_out
    (64, 10)
    """

    fan_in: float
    fan_out: float


def check_weight(weight: Tensor) -> None:
    """Raises TypeError for what cannot be filled with random numbers."""
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        given = f"{weight.dtype}" if isinstance(weight, Tensor) else f"type {type(weight).__name__}"
        raise TypeError(
            f"weight of {given}\nexpected a floating tensor, such as layer.weight; initialize_(model, ...) fills a model"
        )


def check_matrix(weight: Tensor) -> None:
    """Raises what `check_weight` raises, and ValueError for fewer than 2 dimensions or an empty weight."""
    check_weight(weight)
    if weight.dim() < 2 or weight.numel() == 0:
        raise ValueError(f"weight of shape {tuple(weight.shape)}\nexpected (fan_out, fan_in, *kernel) without a 0")


_LARGEST = 1e30  # of a scale: what is drawn with it still fits float32


def scale_of(**given: float) -> float:
    """The one named scale. Raises ValueError unless it is a finite number of at least 0."""
    return not_negative(below=_LARGEST, **given)


def signed_scale_of(**given: float) -> float:
    """The one named scale, of either sign. Raises ValueError unless it is a finite number."""
    ((name, value),) = given.items()
    if not is_number(value) or not abs(value) < _LARGEST:
        raise ValueError(f"{name}={value!r}\nexpected a finite number, below {_LARGEST:g} in size")
    return value


@checked
def fans(weight_or_module: Tensor | nn.Module) -> Fans:
    """How many terms each output sums forward (fan-in), and each input's gradient sums backward (fan-out).

    A weight (fan_out, fan_in, *kernel) alone is read as torch reads it: as a dense layer or an ungrouped
    convolution of stride 1. A Linear or convolution module is read exactly: groups, stride and transposition
    count (torch swaps the fans of a transposed convolution and ignores its stride and groups). With a stride
    the numbers are averages over positions; the borders are left out of account. So weight_or_module is one or the other.
    Raises ValueError for weights of fewer than 2 dimensions or empty ones, TypeError for other modules.

    >>> fans(nn.Conv2d(16, 32, kernel_size=3))
    Fans(fan_in=144.0, fan_out=288.0)
    """
    if isinstance(weight_or_module, (*CONVOLUTIONS, *TRANSPOSED)):
        return _convolution_fans(weight_or_module)
    weight = weight_or_module.weight if isinstance(weight_or_module, nn.Linear) else weight_or_module
    if not isinstance(weight, Tensor):
        raise TypeError(f"fans of {type(weight).__name__}\nexpected a weight, or a Linear or convolution module")
    if weight.dim() < 2 or weight.numel() == 0:
        raise ValueError(f"weight of shape {tuple(weight.shape)}\nexpected (fan_out, fan_in, *kernel) without a 0")
    kernel = weight[0, 0].numel()
    return Fans(weight.shape[1] * kernel, weight.shape[0] * kernel)


def _convolution_fans(module: Convolution) -> Fans:
    kernel, stride = torch.Size(module.kernel_size).numel(), torch.Size(module.stride).numel()
    into, out_of = module.in_channels / module.groups * kernel, module.out_channels / module.groups * kernel
    # A stride s leaves one output for s inputs; transposed, one input for s outputs.
    return Fans(into / stride, out_of) if isinstance(module, TRANSPOSED) else Fans(into, out_of / stride)
