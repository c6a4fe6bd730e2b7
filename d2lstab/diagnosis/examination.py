"""One look at a network: its outputs, loss, signals and gradients on one batch."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..recording import Signals, record
from .answers import each_tensor
from .attention import Gaze, gazes_of
from .borrowing import reseed
from .subject import Subject, floating, fresh_inputs


@dataclass
class Look:
    """What one forward and one backward pass showed."""

    output: Tensor | None  # the first floating tensor among the outputs
    outputs: object  # all of them, cut from their graph
    loss: float
    signals: Signals
    gradients: dict[str, Tensor | None]  # by parameter; None where the loss does not depend on it
    gazes: list[Gaze] = field(default_factory=list)  # one for each call of attention


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
    reseed(subject.model)
    leaves, inputs, keywords = fresh_inputs(subject)
    with record(subject.model, full=True) as signals:
        with gazes_of(subject.model) as gazes:
            outputs = subject.forward(inputs, keywords)
        loss = subject.checked_loss(outputs)
        named = {name: each for name, each in subject.model.named_parameters() if each.requires_grad}
        found = gradients_of(subject, loss, [*named.values(), *leaves])
    told = each_tensor(Tensor.detach, outputs)
    return Look(floating(outputs), told, float(loss.detach()), signals, dict(zip(named, found)), gazes.found)


def loss_now(subject: Subject) -> float:
    """The loss with the parameters as they are, and the same random numbers."""
    reseed(subject.model)
    _, inputs, keywords = fresh_inputs(subject)
    with torch.no_grad():
        return float(subject.loss_of(subject.forward(inputs, keywords)))


def gradients_of(subject: Subject, loss: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """The gradient with respect to each leaf, None where there is none; no `.grad` is touched but the leaves'."""
    if not subject.whole_backward:
        return list(torch.autograd.grad(loss, leaves, allow_unused=True))
    loss.backward()
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found
