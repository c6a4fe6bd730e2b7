"""Outputs and targets of different shapes, which a loss stretches over each other."""

from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor

from ..answers import drawn, level, others
from ..evidence import Evidence
from ..findings import Finding

_SAME = 1e-5  # of the loss: what rounding makes of another order of its terms


def target_shape(evidence: Evidence) -> Finding | None:
    """A loss that is the same whichever sample gets which target, over outputs and targets of different shapes."""
    output, targets = evidence.first.output, evidence.subject.targets
    if output is None or not isinstance(targets, Tensor) or targets.shape == output.shape:
        return None
    if targets.dim() == 0 or output.dim() == 0 or len(targets) < 3 or len(output) != len(targets):
        return None
    # Answers may be compared first, pairs of embeddings by their distance, and their number be that of the targets then.
    if targets.numel() not in (output.numel(), len(targets)):
        return None
    if all(torch.equal(targets, targets.roll(shift, 0)) for shift in (1, 2)) or not _pairs_nothing(evidence):
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


def _pairs_nothing(evidence: Evidence) -> bool:
    """Whether the loss of any answers stays what it is when they change places."""

    def loss(shift: int) -> float:
        answers = drawn()  # other ones for each output: equal ones would have no distance
        return level(evidence.subject, evidence.first.outputs, lambda like: answers(like).roll(shift, 0))

    losses = [loss(shift) for shift in (0, 1, 2)]
    return all(map(isfinite, losses)) and max(losses) - min(losses) <= _SAME * abs(losses[0])


def _asks_targets(evidence: Evidence, targets: Tensor) -> bool:
    """Whether the loss is another one for other targets."""
    subject = evidence.subject
    found = [
        level(replace(subject, targets=each), evidence.first.outputs, Tensor.clone)
        for each in (targets, *others(targets))
    ]
    return all(map(isfinite, found)) and max(found) - min(found) > _SAME * abs(found[0])
