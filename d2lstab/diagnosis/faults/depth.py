"""What depth does to signals and gradients."""

from itertools import pairwise
from math import inf, isnan, log, nan, prod, sqrt

from ...recording import SignalRow
from ..expectation import scale_advice
from ..findings import Finding
from ..measurements import Measurements
from .time import growing

_LEAST_SPREAD = 5e-3  # of outputs between samples: networks below it hardly ever train
_LEAST_SENSITIVITY = 1e-3
_MOST_GROWTH = 1e3
_LEAST_CONFIRMED = 3.0  # relative change of the loss per relative change of a layer's outputs; about 1 is usual
_UNLIKELY = 0.35  # below the even odds, for nothing else is wrong


def exploding(evidence: Measurements) -> Finding | None:
    """Signals that grow by orders of magnitude on the way forward, or gradients on the way back, by layers or by time."""
    return _over_depth(evidence) or growing(evidence)


def _over_depth(evidence: Measurements) -> Finding | None:
    rows = [row for row in evidence.rows if 0 < row.moment < inf and row.gradient >= 0]
    if len(rows) < 4:
        return None
    hidden = rows[:-1]  # a large last layer alone is another fault
    forward = sqrt(hidden[-1].moment / hidden[0].moment)
    # Over the root of their number: entries of either sign add up like a random walk, and layers differ in size.
    felt = [evidence.sensitivity(row) / sqrt(prod(row.shape)) for row in rows]
    backward = max(felt) / felt[-1] if felt[-1] > 0 else nan
    growing_forward = forward > 100 and sqrt(hidden[-1].moment) > 100
    if not growing_forward and not (backward > _MOST_GROWTH and max(felt) > 10):
        return None
    if not growing_forward and evidence.change_of_loss(rows[felt.index(max(felt))]) < _LEAST_CONFIRMED:
        return None  # gradients large at some positions, signals at others, as behind a tiny token
    grows = f"signals grow {forward:.2g}-fold from {rows[0].label} to {hidden[-1].label}"
    if forward < backward:
        grows = (
            f"gradients, times the signals they belong to, grow {backward:.2g}-fold on the way back to {rows[0].label}"
        )
    measured, remedy = scale_advice(evidence)
    return Finding(
        "exploding",
        _begin(rows),
        f"{grows}; about the same size is expected{measured}",
        remedy,
        max(forward, backward),
        1.0,
        repairs=evidence.redrawn,
    )


def vanishing(evidence: Measurements) -> Finding | None:
    """Differences between samples, or gradients, that get lost on the way."""
    rows = [row for row in evidence.seen_again if not isnan(row.moment)]
    if evidence.spread < _LEAST_SPREAD:
        return _lost(evidence, rows)
    # Of a layer that is called again and again, as in a loop over time, one call is enough.
    felt = max((evidence.sensitivity(row) for row in rows if row.name == rows[0].name), default=nan)
    # The answer to a single sample may be sure, and then nothing moves its loss.
    if felt < _LEAST_SENSITIVITY and evidence.samples != 1 and not _only_the_head(evidence, rows):
        measured, remedy = scale_advice(evidence)
        return Finding(
            "vanishing",
            rows[0].label,
            f"if the outputs of {rows[0].label} change by 1 %, the loss changes by {felt:.1g} %; about 1 % is expected{measured}",
            remedy,
            felt,
            1.0,
            repairs=evidence.redrawn,
        )
    return None


def untrainable(evidence: Measurements) -> Finding | None:
    """Nothing else stands out, and yet the network is not likely to train: the weaker of signals and gradients."""
    rows = evidence.seen_again
    if not evidence.trains < _UNLIKELY or len(rows) < 2:
        return None
    growing = rows[-1].moment > 100 * rows[0].moment
    weak = evidence.spread < 10 * _LEAST_SPREAD or evidence.sensitivity(rows[0]) < 10 * _LEAST_SENSITIVITY
    if not (growing or weak):
        return None
    measured, remedy = scale_advice(evidence)
    return Finding(
        "exploding" if growing else "vanishing",
        "",
        f"a few steps at several learning rates hardly teach it to tell samples apart: it trains with probability "
        f"{evidence.trains:.2f}, above 0.5 is expected{measured}",
        remedy,
        evidence.trains,
        0.5,
        severity="fault" if evidence.trains < 0.25 else "warning",
        repairs=evidence.redrawn,
    )


def _lost(evidence: Measurements, rows: list[SignalRow]) -> Finding:
    """Where differences between samples get lost: over many layers, or in one."""
    known = [row for row in rows if row.variation > 0]
    start = known[0].variation if known else 1.0
    drops = [log(a.variation / b.variation) for a, b in pairwise(known)]
    gradual = bool(drops) and max(drops) < 0.6 * log(start / max(evidence.spread, 1e-12))
    worst = known[drops.index(max(drops)) + 1] if drops else (rows[0] if rows else None)
    place = known[0] if gradual else worst
    compared = f", where {known[0].label} has {start:.1g}; about the same" if known else "; about 1"
    measured, remedy = scale_advice(evidence)
    return Finding(
        "vanishing" if gradual else "blind",
        place.label if place else "",
        f"the outputs of different samples differ by {evidence.spread:.1g} of their size{compared} is expected{measured}",
        remedy,
        evidence.spread,
        start,
        repairs=evidence.redrawn,
    )


def _only_the_head(evidence: Measurements, rows: list[SignalRow]) -> bool:
    """Whether signals are well until a small last layer, which grows within a few steps."""
    before = [row for row in rows if prod(row.shape) and row.kind in ("Linear", "Conv2d", "Conv1d", "Conv3d")]
    return len(before) > 1 and before[-2].moment > 1e-2 * before[0].moment and before[0].moment > 1e-4


def _begin(rows: list[SignalRow]) -> str:
    """The first row after which the signal more than doubles in size again and again."""
    for here, there in pairwise(rows):
        if there.moment > 2 * here.moment:
            return there.label
    return rows[0].label
