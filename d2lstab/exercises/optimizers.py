"""Exercises of chapter 06: what an optimizer does with a gradient."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from .judging import close, exercise, number

_SUSPECTS = {
    "SGD": SGD,
    "momentum": partial(SGD, momentum=0.9),
    "Adagrad": Adagrad,
    "RMSProp": RMSprop,
    "Adam": Adam,
    "AdamW": AdamW,
}


def updates(optimizer: Callable, gradients: Sequence[float], *, dtype: torch.dtype = torch.float64) -> Tensor:
    """What a fresh optimizer adds to a weight of 1 for each of these gradients in turn, (steps,)."""
    weight = torch.nn.Parameter(torch.ones((), dtype=dtype, device="cpu"))
    moved, stepper = [], optimizer([weight])
    for gradient in torch.as_tensor(gradients, dtype=dtype, device="cpu").flatten().unbind():
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        stepper.step()
        moved.append(weight.detach() - before)
    return torch.stack(moved)


@exercise("06.1")
def _half_a_step(answer) -> str | None:
    hint = "Adam's first step is lr · |g| / (|g| + ε), and ε is 1e-8."
    return close(answer, 1e-8, 1e-10, hint)


@exercise("06.2")
def _epsilon(answer) -> str | None:
    epsilon = number(answer)
    wanted, noise = _first_step(1e-16, epsilon), _first_step(1e-23, epsilon)
    if not wanted >= 0.9 * (1 - 1e-5):  # the edges count, and float32 rounds there
        return f"with ε = {epsilon:g} a gradient of 1e-16 moves its weight by {wanted:.2g} of lr. ε must be smaller."
    if not noise <= 0.01 * (1 + 1e-5):
        return f"with ε = {epsilon:g} a gradient of 1e-23 moves its weight by {noise:.2g} of lr. What is √v there?"
    return None


def _first_step(gradient: float, eps: float) -> float:
    """The first step of torch's Adam in float32, in units of its learning rate."""
    weight = torch.nn.Parameter(torch.zeros((), device="cpu"))
    weight.grad = torch.tensor(gradient, device="cpu")
    Adam([weight], lr=1.0, eps=eps).step()
    return abs(weight.item())


@exercise("06.3")
def _suspect(answer) -> str | None:
    for lr in (1e-3, 0.03):
        for name, optimizer in _SUSPECTS.items():
            said = answer(partial(updates, partial(optimizer, lr=lr)))
            if said != name:
                return f"it takes {name} with a learning rate of {lr:g} for {said!r}."
    return None
