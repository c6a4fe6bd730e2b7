"""Samples of a batch that are not left alone."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import torch
from torch import Tensor, nn

from ...containers import tensors_in
from ...randomness import seeded
from ..answers import in_order
from ..evidence import Evidence
from ..findings import Finding
from ..subject import Subject, floating, passed

_SUM = 1e-2  # by how much what is normalized may miss 1
_FELT = 1e-3  # of the outputs' size
_FEWEST = 4  # samples
_OTHER = 1  # a seed that is not that of every pass


def mixed_samples(evidence: Evidence) -> Finding | None:
    """Answers that change when another sample of the batch does: a softmax over samples, a batch taken for a sequence.

    Batch normalization in training mode does so by design, and is set to evaluation for this question; so do graphs,
    whose nodes make one sample.
    """
    output, targets, batch = evidence.first.output, evidence.subject.targets, evidence.subject.batch
    if output is None or batch is None or batch < _FEWEST or not isinstance(targets, Tensor) or output.dim() < 2:
        return None
    if len(output) != batch or not targets.dim() or len(targets) != batch:
        return None
    return _over_samples(output, targets, evidence) or _influence(evidence, batch)


def _over_samples(output: Tensor, targets: Tensor, evidence: Evidence) -> Finding | None:
    """A softmax whose sum is 1 along an axis that is not that of the classes."""
    maker = evidence.first.maker
    if "Softmax" not in maker:
        return None
    values = output.double().exp() if "Log" in maker else output.double()
    ones = {axis for axis in range(output.dim()) if float((values.sum(axis) - 1).abs().max()) < _SUM}
    if len(ones) != 1 or targets.is_floating_point() or targets.dim() != output.dim() - 1:
        return None
    (axis,) = ones
    fitting = [k for k in range(output.dim()) if list(targets.shape) == [*output.shape[:k], *output.shape[k + 1 :]]]
    # Targets that fit no axis, such as the letters of a CTC loss, do not say where the classes are.
    if axis and (axis in fitting or not fitting or output.shape[axis] == 1):
        return None
    what = "the samples of a batch" if axis == 0 else f"axis {axis}, on which are positions"
    return Finding(
        "mixed_samples",
        evidence.rows[-1].label if evidence.rows else "",
        f"the softmax at the end is over {what}: the outputs of shape {tuple(output.shape)} sum to 1 along axis {axis}; "
        "along the classes they are expected to",
        "softmax over the classes, dim=-1, or dim=1 of (batch, classes, …)",
        axis,
        output.dim() - 1,
    )


def _influence(evidence: Evidence, batch: int) -> Finding | None:
    """Another finding where the outputs of other samples move with one."""
    subject = evidence.subject
    if evidence.is_graph or (evidence.first.output is not None and batch in evidence.first.output.shape[1:]):
        return None
    moved, time_first = _moved(subject, batch, 0), _time_may_be_first(evidence)
    if moved == 0 and not time_first:
        return _placed(subject, batch)
    if moved is None or moved == 0 or (time_first and _moved(subject, batch, 1) == 0):
        return None
    return Finding(
        "mixed_samples",
        "",
        f"when one sample is exchanged for another, the outputs of {moved} of the {batch - 1} others change; 0 are expected",
        "batch_first=True in recurrent layers and attention given (batch, time, features); permute instead of view; "
        "no mean, norm or softmax over axis 0",
        moved,
        0,
        severity="fault" if 2 * moved >= batch else "warning",
    )


def _moved(subject: Subject, batch: int, axis: int) -> int | None:
    """How many others' outputs change, when the middle entry of an axis of the inputs does; None if not measured."""
    place: dict[str, int] = {}

    def exchanged(each: Tensor) -> Tensor:
        if each.dim() <= axis or len(each) != batch:
            return each
        place["at"], other = each.shape[axis] // 2, each.shape[axis] // 2 - 1
        made = each.clone()
        made.select(axis, place["at"]).copy_(each.select(axis, other))
        return made

    with torch.no_grad(), suppress(Exception), _in_evaluation(_of_batches(subject.model)):
        before, again, after = (floating(passed(subject, f)) for f in (Tensor.clone, Tensor.clone, exchanged))
        if before is None or again is None or after is None or before.shape != after.shape or not place:
            return None
        change = (after.double() - before.double()).abs().movedim(axis, 0).flatten(1).amax(1)
        size = float(before.double().square().mean().sqrt())
        if not float((again.double() - before.double()).abs().max()) <= _FELT * size:
            return None  # it draws from streams of its own, or moves from pass to pass
        others = [float(each) for k, each in enumerate(change) if k != place["at"]]
        # Through a wrong view its own place may not change at all.
        return sum(each > _FELT * size for each in others) if float(change.max()) > 0 else None
    return None


def _placed(subject: Subject, batch: int) -> Finding | None:
    """Another finding where samples have other outputs in other places of the batch, as with codes added for places."""
    order = torch.randperm(batch, generator=seeded(0), device="cpu")

    with (
        torch.no_grad(),
        suppress(Exception),
        _in_evaluation(subject.model.modules()),
    ):  # in it nothing is drawn by place
        before, after = (floating(passed(subject, f)) for f in (Tensor.clone, partial(in_order, order=order)))
        again = floating(passed(subject, seed=_OTHER))  # other random numbers, if there are any
        if before is None or after is None or again is None or before.shape != after.shape:
            return None
        size = float(before.double().square().mean().sqrt())
        noise = float((again.double() - before.double()).abs().max())
        change = (after.double() - before.double()[order.to(before.device)]).abs().flatten(1).amax(1)
        # In another place a sample may be rounded in another way.
        felt = size * max(_FELT, *(16 * torch.finfo(each.dtype).eps for each in _floats_of(subject, before)))
        moved = int((change > felt).sum())
        if not noise <= felt or moved == 0:
            return None
        return Finding(
            "mixed_samples",
            "",
            f"when samples change places, the outputs of {moved} of {batch} change, and no sample's with another's: they depend "
            "on the place in the batch; 0 are expected",
            "what is added for places belongs to the axis of time: [None, :, :] of (batch, time, features)",
            moved,
            0,
        )
    return None


def _floats_of(subject: Subject, output: Tensor) -> list[Tensor]:
    """The parameters and the output: what is as coarse as their dtype."""
    return [output, *(each for each in subject.model.parameters() if each.is_floating_point())]


def _of_batches(model: nn.Module) -> list[nn.Module]:
    """Batch normalization: in evaluation it does not mix, in training it is meant to."""
    return [each for each in model.modules() if "BatchNorm" in type(each).__name__]


@contextmanager
def _in_evaluation(modules: Iterable[nn.Module]) -> Iterator[None]:
    """These modules in evaluation mode."""
    changed = [each for each in modules if each.training]
    try:
        for each in changed:
            each.training = False
        yield
    finally:
        for each in changed:
            each.training = True


def _time_may_be_first(evidence: Evidence) -> bool:
    """Whether the targets have two leading axes like the inputs, so that the second may be that of the samples."""
    x, targets = evidence.input, evidence.subject.targets
    x = x if x is not None else next(iter(tensors_in((evidence.subject.inputs, evidence.subject.keywords))), None)
    return x is not None and x.dim() > 1 and targets.dim() > 1 and x.shape[:2] == targets.shape[:2]
