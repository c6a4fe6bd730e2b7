"""Targets of which nearly all are the same."""

from math import log

import torch
from torch import Tensor

from ..answers import slopes_at
from ..evidence import Evidence
from ..findings import Finding

_MOST = 0.92  # nine of ten, as in one digit against the rest, are learnt
_FEWEST = 16  # answers


def imbalanced(evidence: Evidence) -> Finding | None:
    """Targets of which one value is nearly all, as far as the loss weighs them: a constant answer is nearly right."""
    found = _answers(evidence)
    if found is None:
        return None
    values, weights = found
    if len(values) < _FEWEST:
        return None
    kinds, places = values.unique(return_inverse=True)
    counts, sums = torch.zeros(2, len(kinds), dtype=torch.float64, device=values.device)
    counts.index_add_(0, places, torch.ones_like(weights))
    sums.index_add_(0, places, weights)
    shares, most = counts / counts.sum(), int(counts.argmax())
    share, entropy = min(float(shares[most]), float(sums[most] / sums.sum())), -float((shares * shares.log()).nansum())
    if not _MOST < share < 1:
        return None
    value = kinds[most].item()
    known = (
        f"that answer alone has a loss of {entropy:.2g}, of {len(kinds)} equally frequent ones {log(len(kinds)):.2g}"
    )
    return Finding(
        "imbalanced",
        "",
        f"{share:.0%} of what the loss weighs has the target {value:g}: " + known + "; both are expected to be near",
        "batches with as many of each class (WeightedRandomSampler), weights in the loss (weight=, pos_weight=), and a "
        "measure that a constant answer fails",
        share,
        1 / len(kinds),
        severity="warning",
    )


def _answers(evidence: Evidence) -> tuple[Tensor, Tensor] | None:
    """The classes, or numbers, that the targets are, and how much the loss of a know-nothing weighs each."""
    output, targets = evidence.first.output, evidence.subject.targets
    if output is None or not isinstance(targets, Tensor) or not targets.numel() or targets.is_complex():
        return None
    if targets.is_floating_point():
        if output.shape == targets.shape and targets.dim() == 2 and targets.shape[1] > 1:
            one_hot = bool(((targets == 0) | (targets == 1)).all()) and bool((targets.sum(1) == 1).all())
            targets = targets.argmax(1) if one_hot else None
        elif output.shape == targets.shape and targets.dim() > 2:  # masks
            targets = targets if bool(((targets == 0) | (targets == 1)).all()) else None
        elif targets.numel() != len(targets) if targets.dim() else True:
            targets = None
    if targets is None or not output.numel():
        return None
    slopes = _slopes(evidence, output)
    if slopes is None:
        return None
    for axis in {output.dim() - 1, 1} if output.dim() > 1 else ():
        if slopes.shape[:axis] + slopes.shape[axis + 1 :] == targets.shape:
            weights = slopes.sum(axis)
            break
    else:
        if slopes.numel() != targets.numel():
            return None
        weights = slopes.reshape(targets.shape)
    heard = weights > 0
    return targets[heard].flatten().double(), weights[heard].flatten().double()


def _slopes(evidence: Evidence, output: Tensor) -> Tensor | None:
    """|∂L/∂output| where every output is what they are on average, and no class preferred; None where that is refused."""
    level = torch.full_like(output, float(output.double().mean()))
    found = slopes_at(evidence.subject, evidence.first.outputs, level)
    return None if found is None or not bool(found[1].isfinite().all()) else found[1].abs()
