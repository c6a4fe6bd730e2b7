"""Outputs and targets of different shapes, which a loss stretches over each other."""

from math import isfinite

import torch
from torch import Tensor

from ...randomness import seeded
from ..answers import level
from ..evidence import Evidence
from ..findings import Finding

_SAME = 1e-5  # of the loss: what rounding makes of another order of its terms


def target_shape(evidence: Evidence) -> Finding | None:
    """A loss that is the same whichever sample gets which target, over outputs and targets of different shapes."""
    output, targets = evidence.first.output, evidence.subject.targets
    if output is None or not isinstance(targets, Tensor) or targets.shape == output.shape:
        return None
    if targets.numel() != output.numel() or targets.dim() == 0 or len(targets) < 3:
        return None
    if all(torch.equal(targets, targets.roll(shift, 0)) for shift in (1, 2)) or not _pairs_nothing(evidence):
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
    generator = seeded(0)

    def answers(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator.manual_seed(0), device="cpu").to(like)

    losses = [
        level(evidence.subject, evidence.first.outputs, lambda each, k=k: answers(each).roll(k, 0)) for k in (0, 1, 2)
    ]
    return all(map(isfinite, losses)) and max(losses) - min(losses) <= _SAME * abs(losses[0])
