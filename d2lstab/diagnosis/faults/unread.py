"""Inputs that no answer depends on."""

from contextlib import suppress

import torch
from torch import Tensor

from ...containers import tensors_in
from ..answers import in_order
from ..evidence import Evidence
from ..findings import Finding
from ..subject import floating, passed

_SAME = 1e-6  # of the outputs' size


def unread(evidence: Evidence) -> Finding | None:
    """Answers that stay where they are when samples exchange their inputs: all of them, or one of several.

    One of several counts only where layers that are called get no gradient, as those that read it would: masks and
    labels may come along without a say.
    """
    subject, batch = evidence.subject, evidence.subject.batch
    if batch is None or batch < 3 or evidence.is_graph:
        return None
    order = torch.arange(batch, device="cpu").roll(1)
    given = tensors_in((subject.inputs, subject.keywords))
    differing = [
        k for k, each in enumerate(given) if _by_sample(each, batch) and not torch.equal(each, in_order(each, order))
    ]
    silent = [name for name in (row.name for row in evidence.rows) if f"{name}.weight" in evidence.unreached]
    if not differing or (len(given) > 1 and not silent):
        return None
    ignored = [k for k in differing if _changes_nothing(evidence, k, order)]
    if not ignored:
        return None
    names = [*map(str, range(len(subject.inputs))), *subject.keywords]
    one = f"input {names[ignored[0]]}" if len(names) == len(given) else "one of the inputs"
    which = one if len(given) > 1 else "the inputs"
    behind = f"; {silent[0]} is called, and gets no gradient" if silent else ""
    return Finding(
        "blind",
        silent[0] if silent else "",
        f"when samples exchange {which}, no output changes{behind}; outputs that follow their inputs are expected",
        "look for an axis taken for another (batch_first), a variable used in place of another, or a mask that hides all",
        0.0,
        1.0,
        severity="fault" if len(ignored) == len(differing) else "warning",
    )


def _by_sample(each: Tensor, batch: int) -> bool:
    return each.dim() > 0 and len(each) == batch and each.layout is torch.strided


def _changes_nothing(evidence: Evidence, place: int, order: Tensor) -> bool:
    """Whether each sample's outputs stay the same when samples exchange what they have in this place of the inputs."""
    subject, count = evidence.subject, iter(range(10**9))

    def exchanged(each: Tensor) -> Tensor:
        return in_order(each, order) if next(count) == place else each.clone()

    with torch.no_grad(), suppress(Exception):  # some models refuse inputs that are not what they were
        before, again, after = (floating(passed(subject, f)) for f in (Tensor.clone, Tensor.clone, exchanged))
        if before is None or again is None or after is None or not _by_sample(before, len(order)):
            return False
        size = float(before.double().square().mean().sqrt())
        moved, noise = (float((each.double() - before.double()).abs().max()) for each in (after, again))
        return size > 0 and noise == 0 and moved <= _SAME * size
    return False
