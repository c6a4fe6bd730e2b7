"""What outputs say: how much they differ between samples, and how good a constant would be in their place."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from math import isfinite, nan
from typing import Any

import torch
from torch import Tensor

from ..containers import each_tensor
from ..randomness import seeded
from ..recording.statistics import split_by_sample
from ..trainability.rehearsal import uninformed
from .graph import nodes_behind
from .subject import Subject


def chance(subject: Subject, outputs: Any) -> float:
    """The least loss of two constant answers, one that knows nothing and the mean outputs; NaN where none counts."""
    return min(filter(isfinite, (level(subject, outputs, f) for f in (uninformed, _mean))), default=nan)


def gain(subject: Subject, outputs: Any, loss: float) -> float:
    """The share of the loss that is saved by telling samples apart: 0 where their mean output would do as well."""
    of_mean = level(subject, outputs, _mean)
    return 1 - loss / of_mean if of_mean > 0 else nan


def level(subject: Subject, outputs: Any, other: Callable[[Tensor], Tensor]) -> float:
    """The loss with something else in place of each floating output; NaN where the loss does not take it."""
    if subject.loss is None or subject.targets is None:
        return nan
    # A loss that wants more than tensors has no level of chance, and should not grumble about it either.
    with torch.no_grad(), suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(subject.loss_of(each_tensor(lambda each: other(each) if _counts(each) else each, outputs)))
    return nan


def drawn() -> Callable[[Tensor], Tensor]:
    """What puts normal numbers in an output's place: always the same, and other ones for each of several outputs."""
    generator = seeded(0)
    return lambda like: torch.randn(like.shape, generator=generator, device="cpu").to(like)


def others(targets: Any) -> list[Tensor]:
    """Targets that say something else: all 0, and all 1; none where they are no tensor."""
    return [torch.zeros_like(targets), torch.ones_like(targets)] if isinstance(targets, Tensor) else []


def in_order(tensor: Tensor, order: Tensor) -> Tensor:
    """A copy with its samples in this order; the same of what has another length."""
    return tensor[order.to(tensor.device)] if tensor.dim() and len(tensor) == len(order) else tensor.clone()


def slopes_at(subject: Subject, outputs: Any, answer: Tensor) -> tuple[float, Tensor] | None:
    """The loss with this answer as the first floating output, and its gradient; None where the loss does not take it."""
    leaf = answer.detach().clone().requires_grad_()
    first = iter([leaf])
    given = each_tensor(lambda each: next(first, each) if _counts(each) else each, outputs)
    with torch.enable_grad(), suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = subject.loss_of(given)
        (slopes,) = torch.autograd.grad(loss, leaf)
        return float(loss.detach()), slopes
    return None


def asked_of_bernoulli(subject: Subject, outputs: Any) -> list[Tensor]:
    """The targets that a binary cross-entropy somewhere in the loss is given, as autograd keeps them."""
    if subject.loss is None or subject.targets is None:
        return []
    found: list[Tensor] = []
    with torch.enable_grad(), suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        leaves = each_tensor(lambda each: each.detach().clone().requires_grad_() if _counts(each) else each, outputs)
        found += [node._saved_target for node in nodes_behind([subject.loss_of(leaves)])
                  if node.name().startswith("BinaryCrossEntropy")]  # fmt: skip
    return found


def _counts(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 0


def _mean(output: Tensor) -> Tensor:
    return output.mean(0, keepdim=True).expand_as(output)


def deviation(output: Tensor | None, batch: int | None) -> tuple[float, float]:
    """The standard deviation between samples, and the root mean square; NaN where samples cannot be told apart."""
    by_sample = None if output is None else split_by_sample(output, batch)
    if by_sample is None:
        return nan, nan
    by_sample = by_sample.double()
    return float((by_sample - by_sample.mean(0)).square().mean().sqrt()), float(by_sample.square().mean().sqrt())


def spread(output: Tensor | None, batch: int | None) -> float:
    """The standard deviation between samples over the root mean square, 0 for an output that is 0."""
    between, size = deviation(output, batch)
    return between / size if size != 0 else 0.0
