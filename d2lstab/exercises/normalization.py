"""Exercises of chapter 08: normalization and skips."""

import torch
from torch.nn import functional as F

from ..initializers import he_normal_
from ..mean_field import batchnorm_gradient_factor
from ..networks import residual_mlp
from .judging import close, exercise


@exercise("08.1")
def _gelu_factor(answer) -> str | None:
    hint = "It is E f′(z)² over the variance of f(z), its second moment less its squared mean, with z ~ N(0, 1)."
    return close(answer, batchnorm_gradient_factor(F.gelu), 1e-3, hint)


@exercise("08.2")
def _fixup_exponent(answer) -> str | None:
    return close(answer, -1 / 4, 1e-3, "How many layers share the scaling, and does a signal or its square count?")


@exercise("08.3")
def _first_to_move(answer) -> str | None:
    if isinstance(answer, str) or not all(isinstance(name, str) for name in answer):
        return "expected a list of names, such as ['input.weight']."
    network = residual_mlp(32, 2, torch.relu, initializer=he_normal_, fixup=True)
    every = [name for name, _ in network.named_parameters()]
    unknown = [name for name in answer if name not in every]
    if unknown:
        return f"it has no parameter {unknown[0]!r}; they are {', '.join(every)}."
    network(torch.ones(10, 64, device="cpu")).logsumexp(-1).sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    expected = {name for name, gradient in gradients.items() if gradient is not None and gradient.any()}
    if set(answer) == expected:
        return None
    return f"{len(set(answer) - expected)} too many, {len(expected - set(answer))} missing. Where does a gradient first meet a zero?"
