"""Layers that the loss depends on, and that get no gradient all the same."""

import torch
from torch import Tensor

from ...randomness import seeded
from ...recording.statistics import norm
from ..evidence import Evidence
from ..examination import loss_now
from ..expectation import LAYERS
from ..findings import Finding

_CHANGE, _FELT = 0.3, 1e-5  # of the weights, and of the loss


def cut_off(evidence: Evidence) -> Finding | None:
    """Trained layers without any gradient, even after a small step, whose weights matter for the loss."""
    called = {row.name: row.label for row in evidence.seen_again}
    layers = {
        name: module.weight
        for name, module in evidence.modules.items()
        if name in called and isinstance(module, LAYERS) and f"{name}.weight" in evidence.untouched
    }
    if not layers or not (felt := _felt(evidence, list(layers.values()))) > _FELT:
        return None
    first = called[next(iter(layers))]
    more = f", and so for {len(layers) - 1} more" if len(layers) > 1 else ""
    return Finding(
        "vanishing",
        first,
        f"the loss changes by {felt:.1g} of itself when weights change by {_CHANGE:.0%}, but the gradient of "
        f"{first} is exactly 0 or missing{more}; a gradient is expected",
        "look behind it for .detach(), .data, torch.no_grad, torch.tensor(h), round, argmax or a comparison; "
        "where that is meant, requires_grad_(False)",
        felt,
        severity="warning",
    )


def _felt(evidence: Evidence, weights: list[Tensor]) -> float:
    """The relative change of the loss when these change a little at random."""
    subject, generator = evidence.subject, seeded(0)
    before = loss_now(subject)
    try:
        with torch.no_grad():
            for weight in weights:
                noise = torch.randn(weight.shape, generator=generator, device="cpu").to(weight)
                weight.add_(noise * (_CHANGE * float(norm(weight)) / weight.numel() ** 0.5))
        return abs(loss_now(subject) - before) / evidence.scale
    finally:
        subject.restore()
