"""Parameters that the loss depends on, and that nothing will change."""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite, prod

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...randomness import seeded
from ...recording.statistics import norm
from ..answers import drawn, level, others
from ..evidence import Evidence
from ..findings import Finding
from ..look import loss_now, strangers_now
from ..subject import Subject

_CHANGE, _LEAST = 0.3, 1e-5  # of the weights, and of the loss
_STREAM = 777_767_777  # the noise of a seed that people draw weights from would be these weights once more


def untrained(evidence: Evidence) -> Finding | None:
    """Trained tensors that optimizer or model does not hold, zeros that keep each other there, a loss that hears nothing."""
    return (
        _held_by_none(evidence)
        or _unregistered(evidence)
        or _zeros(evidence)
        or _unheard(evidence)
        or _without_graph(evidence)
    )


def cut_off(evidence: Evidence) -> Finding | None:
    """Trained weights without any gradient, even after a small step, that matter for the loss; or that cannot."""
    named = dict(evidence.subject.model.named_parameters())
    weights = {name: named[name] for name in named if name in evidence.untouched and named[name].dim() > 1}
    if not weights:
        return None
    label = {row.name: row.label for row in reversed(evidence.seen_again)}
    first = next(iter(weights)).rpartition(".")[0]
    first, more = label.get(first, first), f", and so for {len(weights) - 1} more" if len(weights) > 1 else ""
    sizes: dict[Tensor, float] = {weight: _CHANGE * (_size(weight) or _usual(weight)) for weight in weights.values()}
    change = _change_of_loss(evidence, sizes)
    if change > _LEAST:
        return Finding(
            "untrained",
            first,
            f"the loss changes by {change:.1g} of itself when weights change by {_CHANGE:.0%}, but the gradient of "
            f"{first} is exactly 0 or missing{more}; a gradient is expected",
            "look behind it for .detach(), .data, torch.no_grad, torch.tensor(h), sign, round, argmax, a comparison, or a "
            "reentrant checkpoint whose inputs need no gradient; where that is meant, requires_grad_(False)",
            change,
            severity="warning",
        )
    if evidence.first.lonely and weights.keys() - evidence.unreached:
        return Finding(
            "untrained",
            first,
            f"a softmax is over one entry, and 1 whatever it is given: the gradient of {first} is exactly 0{more}; a gradient "
            "is expected",
            "softmax over the axis of what is weighed, such as dim=1 of (batch, time, 1)",
            0.0,
            severity="warning",
        )
    return None


def _held_by_none(evidence: Evidence) -> Finding | None:
    """Parameters with a gradient that the optimizer given has not: all of them, or some."""
    subject = evidence.subject
    if subject.optimizer is None:
        return None
    named = zip(dict(subject.model.named_parameters()), subject.originals)
    trained = [(name, each) for name, each in named if each.requires_grad and name not in evidence.untouched]
    missed = [(name, each) for name, each in trained if id(each) not in subject.held]
    if not missed:
        return None
    kind, numbers = type(subject.optimizer).__name__, sum(each.numel() for _, each in missed)
    whole = len(missed) == len(trained)
    names = ", ".join(name for name, _ in missed[:3]) + (", …" if len(missed) > 3 else "")
    told = (
        f"no parameter of this {type(subject.model).__name__}"
        if whole
        else f"{len(missed)} of {len(trained)} parameters not"
    )
    return Finding(
        "untrained",
        missed[0][0].rpartition(".")[0],
        f"the {kind} holds {told}: {numbers:,} numbers ({names}) have a gradient, and no step changes them",
        f"make the {kind} of model.parameters() after the model was made, moved, copied and completed; "
        "where that is meant, requires_grad_(False)",
        len(missed),
        0,
        severity="fault" if whole else "warning",
    )


def _unregistered(evidence: Evidence) -> Finding | None:
    """Tensors behind the outputs that are trained and are not among the model's parameters."""
    optimizer = evidence.subject.optimizer
    held = [each for group in optimizer.param_groups for each in group["params"]] if optimizer is not None else []
    missed = [
        each for each in evidence.first.strangers
        if not any(each is other or (each.shape == other.shape and torch.equal(each, other)) for other in held)
    ]  # fmt: skip
    if missed:  # what is made anew in each pass is an intermediate result, not a weight
        again = strangers_now(evidence.subject)
        missed = [each for each in missed if any(each is other for other in again)]
    if not missed:
        return None
    shapes = ", ".join("×".join(map(str, each.shape)) or "1" for each in missed[:3]) + (
        ", …" if len(missed) > 3 else ""
    )
    return Finding(
        "untrained",
        "",
        f"{len(missed)} tensors that require a gradient ({shapes}) are used, and model.parameters() has none of them: "
        "no optimizer is given them",
        "nn.ModuleList or nn.ModuleDict instead of a list or dict of layers, nn.Parameter instead of a tensor",
        len(missed),
        0,
    )


def _zeros(evidence: Evidence) -> Finding | None:
    """Parameters that are 0 and have no gradient, because what they are multiplied with is 0 for the same reason."""
    named = dict(evidence.subject.model.named_parameters())
    waiting = evidence.untouched - evidence.unreached
    zeros = {name: named[name] for name in waiting if named[name].dim() > 1 and not named[name].any()}
    if len(zeros) < 2:
        return None
    change = _change_of_loss(evidence, {each: _CHANGE * _usual(each) for each in zeros.values()})
    if not change > _LEAST:
        return None
    first, *_, last = sorted(zeros, key=list(named).index)
    return Finding(
        "untrained",
        first.rpartition(".")[0],
        f"{len(zeros)} weights are 0 and have a gradient of exactly 0 ({first} … {last}), while the loss changes by "
        f"{change:.1g} of itself when they all do: each waits for another to move",
        "draw one factor of each product at random, and leave only the other at 0",
        len(zeros),
        0,
    )


def _unheard(evidence: Evidence) -> Finding | None:
    """A loss without any gradient, which is the same for whatever is answered, to these targets and to others."""
    subject = evidence.subject
    if len(evidence.untouched) < sum(each.requires_grad for each in subject.originals):
        return None

    # Targets that are all to be ignored have such a loss, and rightly.
    asked = (replace(subject, targets=each) for each in (subject.targets, *others(subject.targets)))
    if not all(_answers_weigh_nothing(each, evidence.first.outputs) for each in asked):
        return None
    return Finding(
        "untrained",
        "",
        f"the loss is {evidence.first.loss:.3g} whatever is answered, and all gradients are exactly 0; a loss is expected to tell right "
        "answers from wrong ones",
        "one unit takes a binary cross-entropy, over a single class it is 0; in float16 a sum or a count beyond 65,504 is "
        "infinite, and what is divided by it 0",
        0.0,
    )


def _without_graph(evidence: Evidence) -> Finding | None:
    """A loss of derivatives that the model takes without keeping their graph: no weight hears of them."""
    if not evidence.first.derives:
        return None
    subject = evidence.subject
    with _Larger() as larger:
        change = abs(loss_now(subject) - evidence.first.loss) / evidence.scale
    if not larger.found or not change > _LEAST:
        return None
    return Finding(
        "untrained",
        "",
        f"the loss changes by {change:.1g} of itself when derivatives that the model takes change by {_CHANGE:.0%}, and they "
        "have no graph: no weight has a gradient by them",
        "torch.autograd.grad(…, create_graph=True); where no gradient is meant, .detach() says so",
        change,
        severity="warning",
    )


class _Larger(TorchFunctionMode):
    """Makes larger what a model differentiates without a graph."""

    found = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is not torch.autograd.grad or any(each is not None and each.requires_grad for each in result):
            return result
        self.found = True
        return tuple(None if each is None else each * (1 + _CHANGE) for each in result)


def _answers_weigh_nothing(subject: Subject, outputs: object) -> bool:
    """Whether the loss of random answers of several sizes is one and the same."""

    def loss(size: float) -> float:
        answers = drawn()
        return level(subject, outputs, lambda like: answers(like) * size)

    found = [loss(size) for size in (0.3, 1.0, 3.0)]
    return all(map(isfinite, found)) and max(found) - min(found) <= _LEAST * abs(found[0])


def _usual(weight: Tensor) -> float:
    """The size of what such a weight is drawn from, by its fan-in."""
    return max(1, prod(weight.shape[1:])) ** -0.5


def _size(weight: Tensor) -> float:
    return float(norm(weight.detach())) / max(1, weight.numel()) ** 0.5


def _change_of_loss(evidence: Evidence, sizes: Mapping[Tensor, float]) -> float:
    """The relative change of the loss when these change at random, each by so much."""
    subject, generator = evidence.subject, seeded(_STREAM)
    before = loss_now(subject)
    try:
        with torch.no_grad():
            for weight, size in sizes.items():
                weight.add_(torch.randn(weight.shape, generator=generator, device="cpu").to(weight) * size)
        return abs(loss_now(subject) - before) / evidence.scale
    finally:
        subject.restore()
