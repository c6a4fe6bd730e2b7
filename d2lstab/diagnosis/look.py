"""One look at a network: its outputs, loss, signals and gradients on one batch."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from math import nan
from typing import Any

import torch
from torch import Tensor

from ..borrowing import reseed
from ..containers import each_tensor, tensors_in
from ..recording import Signals, record
from ..recording.statistics import dense
from .attention import Gaze, gazes_of
from .graph import nodes_behind, of_one_entry
from .subject import Subject, floating, fresh_inputs, passed

_MOVING = (
    "View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Permute", "TBackward", "Select", "Slice",
    "Expand", "Clone", "Alias", "ToCopy", "Split", "Unbind",
)  # fmt: skip


@dataclass
class Look:
    """What one forward and one backward pass showed."""

    output: Tensor | None  # the first floating tensor among the outputs
    outputs: object  # all of them, cut from their graph
    loss: float
    signals: Signals
    gradients: dict[str, Tensor | None]  # by parameter; None where the loss does not depend on it
    gazes: list[Gaze] = field(default_factory=list)  # one for each call of attention
    maker: str = ""  # the operation that made the first floating output, what only moves entries left out
    strangers: tuple[Tensor, ...] = ()  # trained tensors behind the outputs that are no parameters of the model
    derives: bool = False  # whether the model differentiates something itself, as those of physics do
    lonely: bool = False  # whether a softmax inside is over one entry


def examine(subject: Subject) -> Look:
    """One forward and backward pass in the mode the model is in, with random numbers of their own seed."""
    try:
        return _look(subject)
    except RuntimeError as error:
        if not subject.adapts(error):
            raise
    return examine(subject)


def _look(subject: Subject) -> Look:
    reseed(subject.model)
    leaves, inputs, keywords = fresh_inputs(subject)
    with record(subject.model, full=True) as signals:
        with gazes_of(subject.model) as gazes:
            outputs = subject.forward(inputs, keywords)
        maker, strangers, lonely = behind(
            outputs, [*subject.model.parameters(), *leaves, *tensors_in((inputs, keywords))]
        )
        told = each_tensor(Tensor.detach, outputs)
        try:
            loss = subject.checked_loss(outputs)
        except ValueError:
            if not any(bool(each.isnan().any()) for each in tensors_in(told) if each.is_floating_point()):
                raise
            # Some losses refuse NaN: then they are not what is wrong.
            return Look(floating(outputs), told, nan, signals, {}, gazes.found, maker, strangers, gazes.derives, lonely)
        named = {name: each for name, each in subject.model.named_parameters() if each.requires_grad}
        found = gradients_of(subject, loss, [*named.values(), *leaves])
    gradients = {name: None if each is None else dense(each) for name, each in zip(named, found)}
    made = floating(outputs), told, float(loss.detach()), signals, gradients, gazes.found, maker, strangers
    return Look(*made, gazes.derives, lonely)


def behind(outputs: Any, known: Iterable[Tensor]) -> tuple[str, tuple[Tensor, ...], bool]:
    """What made the first floating output, trained tensors behind any that are not known, and whether a softmax is over one entry.

    Operations that only move entries, such as view, are looked through. "", () and False where there is no graph.
    """
    made = [each for each in tensors_in(outputs) if each.is_floating_point() and each.grad_fn is not None]
    node = made[0].grad_fn if made else None
    while node is not None and node.name().rstrip("0123456789").startswith(_MOVING):
        node = node.next_functions[0][0] if node.next_functions else None
    known_ids, found, lonely = {id(each) for each in known}, {}, False
    for step in nodes_behind(made):
        lonely = lonely or of_one_entry(step)
        leaf = getattr(step, "variable", None)  # of what adds up the gradients of a leaf
        if leaf is not None and id(leaf) not in known_ids:
            found[id(leaf)] = leaf
    return (node.name() if node is not None else ""), tuple(found.values()), lonely


def strangers_now(subject: Subject) -> tuple[Tensor, ...]:
    """The trained tensors behind the outputs of one more pass that are no parameters of the model."""
    reseed(subject.model)
    leaves, inputs, keywords = fresh_inputs(subject)
    outputs = subject.forward(inputs, keywords)
    return behind(outputs, [*subject.model.parameters(), *leaves, *tensors_in((inputs, keywords))])[1]


def loss_now(subject: Subject) -> float:
    """The loss with the parameters as they are, and the same random numbers."""
    with suppress(RuntimeError), torch.no_grad():
        return float(subject.loss_of(passed(subject)))
    return float(subject.loss_of(passed(subject)).detach())  # it differentiates something itself


def gradients_of(subject: Subject, loss: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """The gradient with respect to each leaf, None where there is none; no `.grad` is touched but the leaves'."""
    if not subject.whole_backward:
        return list(torch.autograd.grad(loss, leaves, allow_unused=True))
    loss.backward()
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found
