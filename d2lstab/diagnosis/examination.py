"""One look at a network: its outputs, loss, signals and gradients on one batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..recording import Signals, record
from .answers import each_tensor
from .subject import Subject, floating, fresh_inputs


@dataclass
class Look:
    """What one forward and one backward pass showed."""

    output: Tensor | None  # the first floating tensor among the outputs
    outputs: object  # all of them, cut from their graph
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
    return Look(
        floating(outputs), each_tensor(Tensor.detach, outputs), float(loss.detach()), signals, dict(zip(named, found))
    )


def gradients_of(subject: Subject, loss: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """The gradient with respect to each leaf, None where there is none; no `.grad` is touched but the leaves'."""
    if not subject.whole_backward:
        return list(torch.autograd.grad(loss, leaves, allow_unused=True))
    loss.backward()
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found
