"""Exercises of chapter 04: the scale of a layer."""

from functools import partial
from math import log, sqrt

from torch import nn
from torch.nn import functional as F

from ..mean_field import forward_gain
from ..randomness import normal, seeded
from .judging import close, exercise


@exercise("04.1")
def _two_gains(answer) -> str | None:
    hint = "It is 1/√E[f(z)²] with z ~ N(0, 1), to three digits after the point."
    if not hasattr(answer, "__len__") or isinstance(answer, str) or len(answer) != 2:
        return "expected a pair of numbers, the gain of leaky ReLU 0.2 and that of GELU."
    leaky = close(answer[0], forward_gain(partial(F.leaky_relu, negative_slope=0.2)), 5e-4, hint)
    return leaky or close(answer[1], forward_gain(F.gelu), 5e-4, hint)


@exercise("04.2")
def _transposed_convolution(answer) -> str | None:
    z = normal(4, 64, 16, 16, generator=seeded(4))
    for settings in (
        {"out_channels": 32, "kernel_size": 4, "stride": 2, "padding": 1},
        {"out_channels": 128, "kernel_size": 3, "padding": 1},
        {"out_channels": 64, "kernel_size": 2, "stride": 2},
        {"out_channels": 64, "kernel_size": 4, "stride": 2, "padding": 1, "groups": 2},
    ):
        layer = nn.utils.skip_init(nn.ConvTranspose2d, 64, **settings)
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        answer(layer)
        size = float(layer(z.relu()).detach()[:, :, 4:-4, 4:-4].square().mean())
        if not 0.8 < size < 1.25:  # 4 standard errors of a good one; what is easily missed is a factor of 2
            return f"the outputs of {layer} have second moment {size:.3g}. How many terms does an output sum?"
    return None


@exercise("04.3")
def _width_for_a_tenth(answer) -> str | None:
    hint = "ln‖h‖² has variance s² = 5L/n and mean -s²/2; a tenth of a normal distribution lies 1.28 s below its mean."
    sd = -1.2815516 + sqrt(1.2815516**2 + 2 * log(2))
    return close(answer, 5 * 50 / sd**2, 60, hint)
