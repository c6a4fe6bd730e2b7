"""Exercises of chapter 02: what a sigmoid does to a gradient."""

from functools import partial
from math import log

import torch
from torch.nn import functional as F

from ..activations import dead_units
from ..initializers import lecun_normal_
from ..mean_field import forward_gain
from ..propagation import depth_sweep
from .judging import close, exercise, positive


@exercise("02.1")
def _sigmoid_scale(answer) -> str | None:
    gain = positive(answer, "gain")
    sweep = depth_sweep(partial(lecun_normal_, gain=gain), torch.sigmoid, depth=10)
    growth = float(sweep.backward[:, 0].median())
    if abs(growth) <= log(2):
        return None
    word = "shrinks to" if growth < 0 else "grows to"
    return f"over 10 layers the mean squared gradient {word} {torch.tensor(growth, device='cpu').exp():.2g} of what it was; aim for 0.5 to 2."


@exercise("02.2")
def _dead_units(answer) -> str | None:
    # Off for every input; off for a whole batch but not for the last input; always on; exactly at the kink.
    z = torch.tensor([[-1.0, -2.0, 3.0, 0.0], [-0.5, -1.0, 2.0, 0.0], [-2.0, 0.1, 1.0, 0.0]], device="cpu")
    cases = [(torch.relu, z), (F.leaky_relu, z), (torch.relu, z[:2])]
    for f, case in cases:
        expected, given = int(dead_units(f, case).sum()), int(answer(f, case))
        if given != expected:
            name = getattr(f, "__name__", "f")
            return f"for {name} and pre-activations {case.tolist()} it says {given}. A unit is dead if its slope is 0 for every row."
    return None


@exercise("02.3")
def _gain_of_silu(answer) -> str | None:
    return close(
        answer, forward_gain(F.silu), 0.005, "It is 1/√E[f(z)²] with z ~ N(0, 1): the second moment, not the variance."
    )
