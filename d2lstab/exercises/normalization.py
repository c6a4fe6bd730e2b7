"""Exercises of chapter 08: normalization and skips."""

import torch
from torch.nn import functional as F

from ..activations import slope
from ..initializers import fixup_factor, he_normal_
from ..mean_field import batchnorm_gradient_factor, gaussian_mean
from ..networks import residual_mlp
from .judging import close, exercise


@exercise("08.1")
def _gelu_factor(answer) -> str | None:
    hint = "It is E f′(z)² over the variance of f(z), its second moment less its squared mean, with z ~ N(0, 1)."
    square = gaussian_mean(lambda z: F.gelu(z).square())
    slope_square = gaussian_mean(lambda z: slope(F.gelu, z).square())
    mistakes = {
        batchnorm_gradient_factor(torch.relu): "ReLU's factor. " + hint,
        slope_square / square: "what a division by the second moment would give. What is subtracted first?",
        slope_square: "what GELU alone makes of it. The normalization after it divides as well.",
    }
    return close(answer, batchnorm_gradient_factor(F.gelu), 1e-3, hint, mistakes=mistakes)


@exercise("08.2")
def _rate_without_fixup(answer) -> str | None:
    hint = "By what does the factor shrink the signal that reaches the last layer, and does it count once or twice?"
    s = fixup_factor(8, layers=3)
    mistakes = {
        0.1: "the rate before. The last layers receive a larger signal now: how far does one step change what they add?",
        0.1 * s: "one factor of Fixup's. " + hint,
        0.1
        * s**2: "the signal's share, two factors. A step is proportional to the signal, and meets the signal again.",
        0.1 / s**4: "the inverse. Without the factor the blocks learn faster, not slower.",
    }
    return close(answer, 0.1 * s**4, 1e-4, hint, mistakes=mistakes)


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
