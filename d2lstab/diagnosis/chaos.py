"""Whether a network keeps near inputs near: what mean-field theory calls the chaotic side."""

from contextlib import suppress
from math import hypot, nan, sqrt

import torch
from torch import Tensor

from ..recording.statistics import norm, split_by_sample
from .answers import deviation
from .subject import Subject, floating, passed

_CHANGE = 1e-3  # of the inputs, in units of the differences between samples; in low precision more than rounding errors
_DRIFT = 0.1  # of what moves with the inputs, by which outputs may move without them
_LEAST = 1e-3  # of the outputs that differs between samples: below, rounding errors speak


def strayed(subject: Subject, output: Tensor | None) -> float:
    """How far outputs move, in units of their size, when each input moves a little towards another sample.

    Over the part of the way that inputs move: 1 says that what is near stays as near as it was. It grows like √χ per
    layer where depth drives nearby inputs apart (χ > 1), until they are like strangers. NaN where not measured.
    Source: Poole et al. 2016, arXiv:1606.05340.
    """
    between, size = deviation(output, subject.batch)
    if output is None or not between > _LEAST * size:
        return nan
    amount = max(_CHANGE, 4 * torch.finfo(output.dtype).eps)
    steps, ways = [], []

    def changed(x: Tensor) -> Tensor:
        if not x.is_floating_point() or not x.dim() or len(x) != subject.batch:
            return x
        other = x.roll(1, 0)
        both = (x != 0) & (other != 0)  # padding stays: what divides by a size would make much of a first trace
        made = x + both * (amount * (other - x))
        steps.append(float(norm(made - x)))  # as rounded
        ways.append(float(norm(x - x.mean(0))) * sqrt(2))  # two samples differ by √2 standard deviations
        return made

    with torch.no_grad(), suppress(Exception):  # some models refuse inputs that are not what they were
        still, moved = floating(passed(subject)), floating(passed(subject, changed))
        if still is None or moved is None:
            return nan
        change, drift = (_typical(each, still, subject.batch) for each in (moved, output))
        if change == 0 or not drift <= _DRIFT * change:  # or neither is known
            return nan  # what moves from pass to pass, as a power iteration does, is not the inputs' doing
        return change / size / sqrt(2) / (hypot(*steps) / hypot(*ways))
    return nan


def _typical(moved: Tensor, still: Tensor, batch: int | None) -> float:
    """The root mean square by which a sample's outputs moved, its median over samples."""
    moves = split_by_sample(moved.double() - still.double(), batch)
    return nan if moves is None else float(moves.reshape(len(moves), -1).square().mean(1).sqrt().median())
