"""Probabilities given to a loss that makes probabilities itself, and logits given to one that does not."""

from math import isfinite, isnan, nan

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...randomness import seeded
from ...trainability.rehearsal import uninformed
from ..answers import level, slopes_at
from ..evidence import Evidence
from ..findings import Finding
from ..repairs import without

_SUM = 1e-2  # by how much probabilities may miss 1: those of half precision do
_SAME = 1e-4  # of the loss
_SURE = 30.0  # a logit: the softplus of it is itself, to rounding


def squashed_twice(evidence: Evidence) -> Finding | None:
    """Probabilities given to a loss that takes logits, and so squashes once more; or a softmax of a single unit."""
    output = evidence.first.output
    if output is None or output.dim() < 1 or not bool(output.isfinite().all()):
        return None
    kind = _kind(evidence)
    if kind == "softmax" and output.dim() > 1 and output.shape[-1] == 1 and bool((output == 1).all()):
        return _finding(evidence, "a softmax over one unit is 1 whatever it is given; an answer that varies is expected", nan,
                        "nn.Sigmoid for one unit, or nn.BCEWithLogitsLoss without any", "fault")  # fmt: skip
    if evidence.first.maker.startswith("LogSoftmax") and _saturates(evidence):
        return _finding(
            evidence,
            "outputs are logarithms of probabilities, which are 0 at most, and the loss squashes each of them by itself: no "
            "answer is ever more than 1/2; logits are expected",
            nan,
            "drop the log_softmax at the end: nn.BCEWithLogitsLoss takes logits",
            "fault",
        )
    if not kind or evidence.subject.targets is None:
        return None
    if not any(_shifts(evidence, axis) for axis in _axes(output, kind)) and not (
        kind == "sigmoid" and _saturates(evidence)
    ):
        return None
    least = _least(evidence)
    certain = (
        f"certain and right answers of this {kind} have the loss {least:.3g}, a constant answer {evidence.chance:.3g}; "
    )
    return _finding(
        evidence,
        f"outputs are those of a {kind}, and the loss takes logits, which it squashes once more; "
        + (certain + "0 is expected" if isfinite(least) else "logits are expected"),
        least,
        f"drop the {kind} at the end: nn.CrossEntropyLoss and nn.BCEWithLogitsLoss take logits",
        "fault" if evidence.trains < 0.5 else "warning",
    )


def unsquashed(evidence: Evidence) -> Finding | None:
    """Answers to classes whose loss is in proportion to them: it takes logarithms of probabilities, and is given others."""
    output, targets = evidence.first.output, evidence.subject.targets
    if output is None or not isinstance(targets, Tensor) or targets.is_floating_point() or targets.is_complex():
        return None
    sizes = list(output.shape)
    logarithms = "LogSoftmax" in evidence.first.maker or bool((uninformed(output) != 0).any())
    places = [axis for axis in {output.dim() - 1, 1} if axis < output.dim() and sizes[axis] > 1]
    fitting = any(sizes[:axis] + sizes[axis + 1 :] == list(targets.shape) for axis in places)
    if not fitting or logarithms or not _in_proportion(evidence, output):
        return None
    kind = _kind(evidence)
    least = "1 by each right answer" if kind else "without an end"
    return Finding(
        "unsquashed",
        evidence.rows[-1].label if evidence.rows else "",
        f"the loss is in proportion to the outputs, {kind and f'which a {kind} has made, '}and falls below 0, {least}; it "
        "takes logarithms of probabilities, whose least loss is 0",
        "nn.CrossEntropyLoss of the logits; or nn.LogSoftmax at the end before nn.NLLLoss",
        evidence.first.loss,
        evidence.chance,
        severity="warning" if kind else "fault",
    )


def _in_proportion(evidence: Evidence, output: Tensor) -> bool:
    """Whether each answer weighs in the loss the same whatever the answers are, and some weigh at all."""
    drawn = torch.randn(output.shape, generator=seeded(0), device="cpu").to(output)
    found = [slopes_at(evidence.subject, evidence.first.outputs, each) for each in (output, drawn, -3 * drawn)]
    slopes = [each[1] for each in found if each is not None]
    if len(slopes) < len(found) or not bool(slopes[0].any()):
        return False
    return all(torch.allclose(each, slopes[0], rtol=_SAME, atol=0) for each in slopes[1:])


def _finding(evidence: Evidence, text: str, measured: float, remedy: str, severity: str) -> Finding:
    last = evidence.rows[-1] if evidence.rows else None
    # A layer that does nothing else; one that is called elsewhere too, or a function, has to be taken out by hand.
    calls = [each for each in evidence.rows if last is not None and each.name == last.name]
    is_layer = last is not None and last.kind in ("Softmax", "Sigmoid") and last.name in evidence.modules
    repairs = (without(last.name),) if last and is_layer and len(calls) == 1 and not isnan(measured) else ()
    return Finding("squashed_twice", last.label if last else "", text, remedy, measured, 0.0, severity, repairs)


def _kind(evidence: Evidence) -> str:
    """Whether the outputs were made by a softmax or a sigmoid."""
    maker = evidence.first.maker
    return "softmax" if maker.startswith("Softmax") else "sigmoid" if maker.startswith("Sigmoid") else ""


def _axes(output: Tensor, kind: str) -> list[int]:
    """The axes along which the outputs may be classes: of a softmax, those along which they sum to 1."""
    axes = [axis for axis in range(1, output.dim()) if output.shape[axis] > 1]
    if kind == "sigmoid":
        return axes
    return [axis for axis in axes if float((output.float().sum(axis) - 1).abs().max()) < _SUM]


def _shifts(evidence: Evidence, axis: int) -> bool:
    """Whether the loss takes no notice of a number that is added to all classes, as the softmax of logits does not."""

    def answers(like: Tensor, shift: float) -> Tensor:
        generator = seeded(0)
        logits = torch.randn(like.shape, generator=generator, device="cpu")
        added = torch.randn(like.sum(axis, keepdim=True).shape, generator=generator, device="cpu")
        return (logits + shift * added).to(like)

    if evidence.first.output is None:
        return False
    losses = [
        level(evidence.subject, evidence.first.outputs, lambda each, k=k: answers(each, k)) for k in (0.0, 1.0, -2.0)
    ]
    return all(map(isfinite, losses)) and max(losses) - min(losses) <= _SAME * abs(losses[0])


def _saturates(evidence: Evidence) -> bool:
    """Whether sure answers cost nothing where they are right, and in proportion where they are wrong, as of logits."""
    output, targets = evidence.first.output, evidence.subject.targets
    if output is None or not isinstance(targets, Tensor) or targets.numel() != output.numel():
        return False
    if not bool(((targets == 0) | (targets == 1)).all()):
        return False
    signs = (2 * targets.to(output.dtype) - 1).reshape(output.shape)

    def loss(size: float) -> float:
        return level(
            evidence.subject,
            evidence.first.outputs,
            lambda each: size * signs.to(each) if each.shape == signs.shape else each,
        )

    right, wrong, twice = loss(_SURE), loss(-_SURE), loss(-2 * _SURE)
    return all(map(isfinite, (right, wrong, twice))) and abs(right) < 1e-3 * wrong and 1.8 < twice / wrong < 2.2


def _least(evidence: Evidence) -> float:
    """The loss of certain and right answers; NaN where targets are neither classes nor zeros and ones."""
    output = evidence.first.output
    right = None if output is None else _right_probabilities(output, evidence.subject.targets)
    return (
        nan
        if right is None
        else level(
            evidence.subject, evidence.first.outputs, lambda each: right.to(each) if each.shape == right.shape else each
        )
    )


def _right_probabilities(output: Tensor, targets) -> Tensor | None:
    """1 for the right class and 0 for others; None where targets are neither classes nor zeros and ones."""
    if not isinstance(targets, Tensor) or targets.is_complex() or not targets.numel():
        return None
    if targets.is_floating_point():
        binary = targets.numel() == output.numel() and bool(((targets == 0) | (targets == 1)).all())
        return targets.reshape(output.shape).to(output.dtype) if binary else None
    for axis in {output.dim() - 1, 1} if output.dim() > 1 else ():
        classes = output.shape[axis]
        if targets.numel() * classes == output.numel() and int(targets.min()) >= 0 and int(targets.max()) < classes:
            rest = [size for place, size in enumerate(output.shape) if place != axis]
            return one_hot(targets.long().reshape(rest), classes).movedim(-1, axis).to(output.dtype)
    return None
