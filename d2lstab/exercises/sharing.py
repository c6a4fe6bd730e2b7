"""Exercises of chapter 07: weights that need a rule of their own."""

from math import log

import torch
from torch.nn import functional as F

from ..randomness import normal, seeded
from .judging import close, exercise


@exercise("07.1")
def _overlap(answer) -> str | None:
    hint = "How many of the seven weights along one axis reach each of three neighbouring pixels?"
    mistakes = {3 / 2: "the factor along one axis.", 4 / 9: "the inverse.", 81 / 16: "the factor of the fourth powers."}
    return close(answer, 9 / 4, 0.01, hint, mistakes=mistakes)


@exercise("07.2")
def _icnr_by_hand(answer) -> str | None:
    weight = torch.zeros(9 * 16, 8, 3, 3, device="cpu")
    answer(weight)
    out = F.pixel_shuffle(F.conv2d(normal(2, 8, 8, 8, generator=seeded(0)), weight.detach()), 3)
    blocks = F.pixel_unshuffle(out, 3).unflatten(1, (-1, 9))
    if not out.any():
        return "the output is 0. Fill the weight in place."
    checkerboard = float(blocks.var(2, correction=0).mean() / out.square().mean())
    if checkerboard > 1e-9:
        return (
            f"{checkerboard:.2g} of the output's mean square varies within 3 × 3 blocks. Which channels make one block?"
        )
    if len(weight.detach().unique(dim=0)) < 16:
        return "two of the 16 output channels have the same weight."
    size = float(weight.detach().square().mean()) * 72 / 2
    # 16 · 72 numbers: a standard error of 4 %.
    return None if 0.8 < size < 1.2 else f"the mean squared weight is {size:.3g} times He's, 2 / fan-in."


@exercise("07.3")
def _first_loss_of_a_tied_model(answer) -> str | None:
    hint = "A logit has the standard deviation s = std · √d, and the loss is ln V + s²/2 while s is small."
    return close(answer, log(1000) + 0.05**2 * 256 / 2, 0.03, hint)
