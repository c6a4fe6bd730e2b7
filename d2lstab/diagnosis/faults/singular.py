"""Formulas that are finite today."""

from contextlib import suppress
from math import isfinite

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..answers import slopes_at
from ..evidence import Evidence
from ..findings import Finding
from ..origin import FORMULAS
from ..subject import passed

_SURE = 20.0  # as large as logits get in networks that are sure: a sigmoid of it is 1, to rounding
_LINEAR = ("AddmmBackward", "MmBackward", "BmmBackward", "BaddbmmBackward", "LinearBackward", "ConvolutionBackward")
_NEAR = 5e-7  # of an argument whose slope is infinite


def singular(evidence: Evidence) -> Finding | None:
    """A loss that is not finite, or has no finite gradient, once answers are sure; an arc cosine near its ends."""
    return _sure(evidence) or _ends(evidence)


def _sure(evidence: Evidence) -> Finding | None:
    output = evidence.first.output
    if output is None or evidence.subject.targets is None or not output.numel():
        return None
    size, maker = float(output.double().square().mean().sqrt()), evidence.first.maker
    if maker.startswith("Sigmoid"):
        certain, told = [output.float().round().to(output.dtype)], "sure, exactly 0 or 1"
    elif maker.startswith(_LINEAR) and size > 0:  # of either sign, and without a bound
        certain, told = [output * (_SURE / size), output * (-_SURE / size)], f"sure, of size {_SURE:g}"
    else:
        return None
    if not any(_broken(evidence, each) for each in certain) or _broken(evidence, output):
        return None
    return Finding(
        "singular",
        "",
        f"the loss or its gradient is infinite or NaN once outputs are {told}; now they have size {size:.2g}, and training "
        "makes them sure; finite numbers are expected",
        "a loss of the logits (F.binary_cross_entropy_with_logits, F.cross_entropy, F.logsigmoid), or an eps inside "
        "each log, root and power of a probability",
        size,
        _SURE,
        severity="warning",
    )


def _broken(evidence: Evidence, output: Tensor) -> bool:
    """Whether the loss of these outputs, or its gradient, is not finite; False where it does not take them."""
    found = slopes_at(evidence.subject, evidence.first.outputs, output)
    return found is not None and not (isfinite(found[0]) and bool(found[1].isfinite().all()))


_ARCS = {
    each: name
    for name in ("acos", "asin", "arccos", "arcsin", "atanh")
    for each in (getattr(torch, name), getattr(Tensor, name))
}


class _Ends(TorchFunctionMode):
    """Arc functions given what is next to an end, where their slope is infinite."""

    def __init__(self):
        super().__init__()
        self.found: list[tuple[str, float]] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _ARCS and args and isinstance(args[0], Tensor) and args[0].numel():
            with torch._C.DisableTorchFunction():
                gap = float((1 - args[0].detach().double().abs()).abs().min())
                if gap < _NEAR:
                    self.found.append((_ARCS[func], gap))
        return func(*args, **(kwargs or {}))


def _ends(evidence: Evidence) -> Finding | None:
    with torch.no_grad(), suppress(Exception), _Ends() as ends:  # what a second pass raises is not the question here
        evidence.subject.loss_of(passed(evidence.subject))
    if not ends.found:
        return None
    name, gap = ends.found[0]
    return Finding(
        "singular",
        "",
        f"{name} is given a number within {gap:.1g} of 1, where its slope is infinite; a distance of 1e-6 is expected",
        FORMULAS["acos"],
        gap,
        1e-6,
        severity="warning",
    )
