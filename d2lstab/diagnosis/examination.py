"""One look at a network: its outputs, loss, signals and gradients on one batch."""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite, nan

import torch
from torch import Tensor

from ..recording import Signals, record
from ..recording.statistics import split_by_sample
from .subject import Subject, floating, fresh_inputs


@dataclass
class Look:
    """What one forward and one backward pass showed."""

    output: Tensor | None  # the first floating tensor among the outputs
    loss: float
    signals: Signals
    gradients: dict[str, Tensor | None]  # by parameter; None where the loss does not depend on it


def examine(subject: Subject) -> Look:
    """One forward and backward pass in the mode the model is in, with random numbers of their own seed."""
    try:
        return _look(subject)
    except RuntimeError as error:
        if subject.whole_backward or "use_reentrant" not in str(error):
            raise
    subject.whole_backward = True
    return _look(subject)


def _look(subject: Subject) -> Look:
    torch.manual_seed(0)
    leaves, inputs, keywords = fresh_inputs(subject)
    with record(subject.model, full=True) as signals:
        outputs = subject.forward(inputs, keywords)
        loss = subject.checked_loss(outputs)
        named = {name: each for name, each in subject.model.named_parameters() if each.requires_grad}
        found = gradients_of(subject, loss, [*named.values(), *leaves])
    return Look(floating(outputs), float(loss.detach()), signals, dict(zip(named, found)))


def gradients_of(subject: Subject, loss: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """The gradient with respect to each leaf, None where there is none; no `.grad` is touched but the leaves'."""
    if not subject.whole_backward:
        return list(torch.autograd.grad(loss, leaves, allow_unused=True))
    loss.backward()
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found


def chance(subject: Subject, output: Tensor) -> float:
    """The least loss that a constant output reaches among a few: 0, and the mean output; NaN where none counts."""
    if subject.loss is None or subject.targets is None:
        return nan
    losses = []
    for constant in (torch.zeros_like(output), output.mean(0, keepdim=True).expand_as(output)):
        # A loss that wants more than a tensor has no level of chance, and should not grumble about it either.
        with torch.no_grad(), suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            losses.append(float(subject.loss_of(constant)))
    return min(filter(isfinite, losses), default=nan)


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
