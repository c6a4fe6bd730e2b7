"""What a layer call showed, over all passes of a step and all processes."""

from dataclasses import dataclass, replace
from math import isnan, nan, sqrt
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..recording import SignalRow

Attention = dict[str, tuple[float, float]]  # entropy and largest logit of each call

# Bins of equal width in asinh(10 h): even steps below 0.1, factors of 1.4 above, up to ±2,000.
_REACH = 10.6
BINS = 64
EDGES = torch.linspace(-_REACH, _REACH, BINS + 1, dtype=torch.float64, device="cpu").sinh() / 10


def histogram_of(h: Tensor) -> Tensor:
    """How many entries lie in each bin, those beyond the last edges in the outermost ones, NaN in none."""
    h = h.float() if h.dtype in (torch.float16, torch.bfloat16) else h
    return torch.histc((10 * h).asinh().clamp(-_REACH, _REACH), BINS, -_REACH, _REACH)


@dataclass(frozen=True)
class LayerCall:
    """A row, and what is needed to add rows up: `+` gives the row of two batches taken as one."""

    row: SignalRow  # its shape is that of the first batch
    reach: Tensor | None  # max |h| of each unit; None where that means nothing
    histogram: tuple[float, ...]
    bad_signal: bool  # whether an entry of h is infinite or NaN
    bad_gradient: bool
    entries: int

    def __add__(self, other: "LayerCall") -> "LayerCall":
        one, two, entries = self.row, other.row, self.entries + other.entries
        share = self.entries / (entries or 1)

        def mean(a: float, b: float) -> float:
            return share * a + (1 - share) * b

        moment = mean(one.moment, two.moment)
        between = mean(one.variation**2 * one.moment, two.variation**2 * two.moment)
        reach = together(self.reach, other.reach)
        row = replace(
            one,
            moment=moment,
            variation=sqrt(between / moment) if moment > 0 else nan,
            gradient=mean(one.gradient, two.gradient),
            saturated=mean(one.saturated, two.saturated),
            dead=nan if reach is None else float(reach.eq(0).double().mean()),
            largest=nan if isnan(one.largest) or isnan(two.largest) else max(one.largest, two.largest),
            time=tuple(a + b for a, b in zip(one.time, two.time)),
        )
        return LayerCall(
            row=row,
            reach=reach,
            histogram=tuple(a + b for a, b in zip(self.histogram, other.histogram)),
            bad_signal=self.bad_signal or other.bad_signal,
            bad_gradient=self.bad_gradient or other.bad_gradient,
            entries=entries,
        )

    def with_gradients_over(self, factor: float) -> "LayerCall":
        """The same, every g divided by the factor."""
        if factor == 1:
            return self
        share, row = 1 / factor**2, self.row
        time = tuple(each * share for each in row.time)
        return replace(self, row=replace(row, gradient=row.gradient * share, time=time))


def together(one: Tensor | None, two: Tensor | None) -> Tensor | None:
    """The reach of each unit over two batches."""
    return torch.maximum(one, two) if one is not None and two is not None and one.shape == two.shape else None


def exchanged(
    calls: dict[str, LayerCall], attention: Attention, loss: float | None, group: Any
) -> tuple[dict[str, LayerCall], Attention, float | None]:
    """Calls and attention over the batches of all processes and the mean of their losses, in one exchange, the same on each."""
    everyone: list = [None] * dist.get_world_size(group)
    calls = {
        label: replace(call, reach=None if call.reach is None else call.reach.cpu()) for label, call in calls.items()
    }
    dist.all_gather_object(everyone, (calls, attention, loss), group=group)
    total: dict[str, LayerCall] = {}
    for each, _, _ in everyone:
        for label, call in each.items():
            total[label] = total[label] + call if label in total else call
    mean = None if loss is None else sum(each for _, _, each in everyone) / len(everyone)
    looks: dict[str, list[tuple[float, float]]] = {}
    for _, each, _ in everyone:
        for label, look in each.items():
            looks.setdefault(label, []).append(look)
    seen = {label: (sum(h for h, _ in some) / len(some), max(z for _, z in some)) for label, some in looks.items()}
    return total, seen, mean
