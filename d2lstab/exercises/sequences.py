"""Exercises of chapter 14: gradients through time."""

from math import comb, log

import torch
from torch import Tensor

from ..initializers import half_life
from ..propagation import state_gradients
from ..randomness import normal, seeded
from .judging import close, exercise, number


@exercise("14.1")
def _half_life_of_50(answer) -> str | None:
    steps = half_life(number(answer))
    if 49.5 < steps < 50.5:  # a bias to 0.01
        return None
    return f"the half-life would be {steps:.4g} steps. It is ln ½ / ln σ(b)."


def _last_at_the_wall(steps: int, latest: int) -> float:
    """The chance that a walk of so many steps touched the wall for the last time at step `latest`, or before it."""
    first = [comb(2 * n, n) / 4**n for n in range(steps + 1)]
    return sum(first[n] * first[steps - n] for n in range(latest + 1))


@exercise("14.2")
def _on_for_150_of_200(answer) -> str | None:
    mistakes = {
        _last_at_the_wall(200, 150): "the share that has been on in the last 50.",
        _last_at_the_wall(200, 49): "the share without those that touched the wall for the last time at step 50.",
        1 / 3: "the limit of many steps; sum the chances themselves.",
        comb(300, 150) / 4**150: "that of a network that has read 150 steps in all.",
    }
    hint = "When did such a unit touch the wall for the last time? Sum the chances of all these steps."
    return close(answer, _last_at_the_wall(200, 50), 0.001, hint, mistakes=mistakes)


@exercise("14.3")
def _a_memory_of_200_steps(answer) -> str | None:
    noise = normal(4, 200, 1, generator=seeded(0))
    for name, inputs in {"in silence": torch.zeros(1, 200, 1, device="cpu"), "on noise": noise}.items():
        sizes = state_gradients(answer, inputs, seeds=range(3)).cell
        if sizes is None:
            return "the module has no cell: expected an nn.LSTM."
        change = _farthest(sizes[:, 1:] - sizes[:, 1:2])
        if not abs(change) < log(10):
            return (
                f"{name} the gradient of the cell changes by a factor of 10^{change / log(10):.1f} within 200 steps. "
                "What is lost or added per step, and through which gate?"
            )
    return None


def _farthest(sizes: Tensor) -> float:
    return float(sizes.flatten()[sizes.abs().argmax()])
