"""A training step in a few numbers: what the rules on runs of records look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan, nan, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from .calls import LayerCall


@dataclass(frozen=True)
class Backward:
    """What the backward passes of a step showed at the outputs of the model."""

    passes: int = 0
    excess: float = nan  # a mean cross-entropy's gradient over the largest it can have; NaN for other losses
    kept: bool = False  # whether gradients were there before


def look_at_answer(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Samples with a gradient, Σ g², and whether it is one of softmax and cross-entropy: p less a one at the right class."""
    rows = gradient.detach().flatten(0, -2).float()
    largest = rows.abs().amax(1)
    balanced = rows.sum(1).abs() <= 1e-2 * rows.abs().sum(1)
    one_right = (rows < 0).sum(1) == 1
    rounded = largest <= 1e-5 * largest.max()  # answers that are sure and right
    return (largest > 0).sum(), rows.square().sum(), ((balanced & one_right) | rounded).all()


def excess_of(looks: Sequence[tuple[Tensor, Tensor, Tensor]], scale: float) -> float:
    """√N times the norm of all gradients of a step, over √2; NaN where it is not a cross-entropy's."""
    if not looks or not all(bool(entropy) for _, _, entropy in looks):
        return nan
    samples, squares = sum(int(each[0]) for each in looks), sum(float(each[1]) for each in looks)
    return sqrt(samples * squares / 2) / scale


def facts_of(
    calls: Mapping[str, LayerCall],
    names: Sequence[str],
    norms: Sequence[Sequence[float]],
    backward: Backward,
    *,
    groups: Sequence[tuple[float, float, float]],
    outermost: Sequence[str],
    noise: bool,
) -> dict[str, Any]:
    """Plain values about one step: sizes of all weights together, of the model's answer, and of parts that are called.

    norms: gradient, update and weight of each name. outermost: paths of the modules that the loop called itself.
    """
    rows = [each.row for each in calls.values()]
    answer = rows[-1]
    gradient, update, weight = (_total(each) for each in norms)
    return {
        "ratio": update / weight if weight > 0 else nan,
        "gradient": gradient,
        "answer": answer.label,
        "size": sqrt(answer.moment) if answer.moment >= 0 else nan,
        "spread": answer.variation * sqrt(answer.moment) if answer.moment > 0 else 0.0,
        "backwards": backward.passes,
        "excess": backward.excess,
        "kept": backward.kept,
        "groups": [tuple(each) for each in groups],
        "noise": noise,
        "called": len(set(outermost)),
        "parts": {name: _part(name, rows, names, norms[0]) for name in dict.fromkeys(outermost) if name},
    }


def _part(name: str, rows: Sequence[Any], names: Sequence[str], gradients: Sequence[float]) -> tuple[float, float]:
    """The norm of the gradient of a part's weights, and how large its last outputs are."""
    inside = [row for row in rows if row.name == name or row.name.startswith(f"{name}.")]
    own = [gradient for each, gradient in zip(names, gradients) if each.startswith(f"{name}.")]
    return _total(own), sqrt(inside[-1].moment) if inside and inside[-1].moment >= 0 else nan


def groups_of(
    optimizer: torch.optim.Optimizer | None, parameters: Mapping[str, nn.Parameter], norms: Sequence[Sequence[float]]
) -> list[tuple[float, float, float]]:
    """Norm of the update, norm of the weights, and learning rate of each parameter group of the optimizer."""
    if optimizer is None:
        return []
    place = {id(each): place for place, each in enumerate(parameters.values())}
    found = []
    for group in optimizer.param_groups:
        own = [place[id(each)] for each in group["params"] if id(each) in place]
        update, weight = (_total([norms[column][each] for each in own]) for column in (1, 2))
        found.append((update, weight, float(group.get("lr", nan))))
    return found


def _total(norms: Sequence[float]) -> float:
    """The norm of several tensors together; those that were not measured are left out."""
    return sqrt(sum(each * each for each in norms if not isnan(each))) if all(map(_small, norms)) else nan


def _small(norm: float) -> bool:
    return isnan(norm) or (isfinite(norm) and norm < 1e150)
