"""Outputs and targets of different shapes, which a loss stretches over each other."""

from dataclasses import replace
from math import isfinite, nan

import torch
from torch import Tensor

from ...containers import each_tensor, tensors_in
from ...randomness import seeded
from ..answers import drawn, in_order, level, others
from ..evidence import Evidence
from ..findings import Finding

_SAME = 1e-5  # of the loss: what rounding makes of another order of its terms


def target_shape(evidence: Evidence) -> Finding | None:
    """A loss that is the same whichever sample gets which target, over outputs and targets of different shapes."""
    return _of_one(evidence) or _of_several(evidence)


def _of_one(evidence: Evidence) -> Finding | None:
    """Where targets are one tensor."""
    output, targets = evidence.first.output, evidence.subject.targets
    if output is None or not isinstance(targets, Tensor) or targets.shape == output.shape:
        return None
    if targets.dim() == 0 or output.dim() == 0 or len(targets) < 3 or len(output) != len(targets):
        return None
    # Answers may be compared first, pairs of embeddings by their distance, and their number be that of the targets then.
    if targets.numel() not in (output.numel(), len(targets)):
        return None
    orders = _orders(len(targets))
    if all(torch.equal(targets, in_order(targets, order)) for order in orders) or not _pairs_nothing(evidence, orders):
        return None
    if targets.numel() != output.numel() and not _asks_targets(evidence, targets):
        return None
    shapes = f"outputs have shape {tuple(output.shape)}, targets {tuple(targets.shape)}"
    return Finding(
        "target_shape",
        "",
        f"{shapes}, and the loss stays the same when each sample gets another's target: it compares all with all; "
        "one target to each output is expected",
        "targets.view_as(outputs) in the loss, or outputs.squeeze(-1)",
        output.numel() * targets.numel() / max(1, len(targets)),
        output.numel(),
    )


def _of_several(evidence: Evidence) -> Finding | None:
    """Where they are several tensors, as actions and what they earned: a column among rows, or a row among columns."""
    output, targets = evidence.first.output, evidence.subject.targets
    several = tensors_in(targets)
    if output is None or isinstance(targets, Tensor) or len(several) < 2 or output.dim() == 0 or len(output) < 3:
        return None
    orders = _orders(len(output))
    for place, each in enumerate(several):
        if not each.is_floating_point() or each.shape not in ((len(output),), (len(output), 1)):
            continue
        turned = each.flatten() if each.dim() == 2 else each[:, None]
        if _spread(evidence, place, each, orders) <= _SAME < _spread(evidence, place, turned, orders):
            return Finding(
                "target_shape",
                "",
                f"the loss stays the same when samples exchange what they have in the targets' tensor of shape "
                f"{tuple(each.shape)}: it compares all with all; with shape {tuple(turned.shape)} it does not",
                "targets.squeeze(-1), or targets.view_as(outputs), in the loss",
                len(each) ** 2,
                len(each),
            )
    return None


def _orders(samples: int) -> list[Tensor]:
    """Two orders at random: labels that come round again and again look the same from one place further on."""
    return [torch.randperm(samples, generator=seeded(k), device="cpu") for k in (1, 2)]


def _spread(evidence: Evidence, place: int, tensor: Tensor, orders: list[Tensor]) -> float:
    """By how much of itself the loss of any answers changes with the order of this tensor among the targets; NaN if not known."""

    def loss(given: Tensor) -> float:
        count, answers = iter(range(10**9)), drawn()
        targets = each_tensor(lambda each: given if next(count) == place else each, evidence.subject.targets)
        return level(replace(evidence.subject, targets=targets), evidence.first.outputs, answers)

    losses = [loss(each) for each in (tensor, *(in_order(tensor, order) for order in orders))]
    if not all(map(isfinite, losses)) or not losses[0]:
        return nan
    return (max(losses) - min(losses)) / abs(losses[0])


def _pairs_nothing(evidence: Evidence, orders: list[Tensor]) -> bool:
    """Whether the loss of any answers stays what it is when they change places."""

    def loss(order: Tensor | None) -> float:
        answers = drawn()  # other ones for each output: equal ones would have no distance
        return level(
            evidence.subject,
            evidence.first.outputs,
            lambda like: answers(like) if order is None else in_order(answers(like), order),
        )

    losses = [loss(order) for order in (None, *orders)]
    return all(map(isfinite, losses)) and max(losses) - min(losses) <= _SAME * abs(losses[0])


def _asks_targets(evidence: Evidence, targets: Tensor) -> bool:
    """Whether the loss is another one for other targets."""
    subject = evidence.subject
    found = [
        level(replace(subject, targets=each), evidence.first.outputs, Tensor.clone)
        for each in (targets, *others(targets))
    ]
    return all(map(isfinite, found)) and max(found) - min(found) > _SAME * abs(found[0])
