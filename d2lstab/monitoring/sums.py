"""Statistics that add up: over the passes of a step, and over processes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, isnan, nan, prod, sqrt
from typing import Any

import torch
from torch import Tensor

from ..recording import SignalRow

# Bins of equal width in asinh(10 h): even steps below 0.1, factors of 1.4 above, up to ±2,000.
_REACH = 10.6
BINS = 64
EDGES = torch.linspace(-_REACH, _REACH, BINS + 1, dtype=torch.float64).sinh() / 10


def histogram_of(h: Tensor) -> Tensor:
    """How many entries lie in each bin, those beyond the last edges in the outermost ones, NaN in none."""
    h = h.float() if h.dtype in (torch.float16, torch.bfloat16) else h
    return torch.histc((10 * h).asinh().clamp(-_REACH, _REACH), BINS, -_REACH, _REACH)


@dataclass(frozen=True)
class Sums:
    """What one layer call showed, as sums over samples; `+` gives those of two batches together."""

    row: SignalRow  # what the call is: name, kind, shape of the first batch
    entries: int
    square: float  # Σ h²
    between: float  # Σ of what differs between samples, squared
    gradient: float  # Σ g²
    saturated: float  # how many entries are
    largest: float
    off: Tensor | None  # which units are 0 for every sample; None where that means nothing
    histogram: tuple[float, ...]
    time: tuple[float, ...]
    bad_signal: bool  # whether an entry of h is infinite or NaN
    bad_gradient: bool

    @staticmethod
    def of(row: SignalRow, values: Mapping[str, Any], off: Tensor | None) -> "Sums":
        """From a row, the numbers it was made of, and the units that are off."""
        entries = prod(row.shape)
        square = row.moment * entries
        return Sums(
            row=row,
            entries=entries,
            square=square,
            between=row.variation**2 * square,
            gradient=row.gradient * entries,
            saturated=row.saturated * entries,
            largest=row.largest,
            off=off,
            histogram=values.get("histogram", ()),
            time=row.time,
            bad_signal=not isfinite(values.get("largest", 0.0)),
            bad_gradient=not isfinite(values.get("gradient_largest", 0.0)),
        )

    def __add__(self, other: "Sums") -> "Sums":
        one, two = self.off, other.off
        return Sums(
            row=self.row,
            entries=self.entries + other.entries,
            square=self.square + other.square,
            between=self.between + other.between,
            gradient=self.gradient + other.gradient,
            saturated=self.saturated + other.saturated,
            largest=nan if isnan(self.largest) or isnan(other.largest) else max(self.largest, other.largest),
            off=one & two if one is not None and two is not None and one.shape == two.shape else None,
            histogram=tuple(a + b for a, b in zip(self.histogram, other.histogram)),
            time=tuple(a + b for a, b in zip(self.time, other.time)),
            bad_signal=self.bad_signal or other.bad_signal,
            bad_gradient=self.bad_gradient or other.bad_gradient,
        )

    def with_gradients_over(self, factor: float) -> "Sums":
        """The same, every g divided by the factor."""
        if factor == 1:
            return self
        share = 1 / factor**2
        return replace(self, gradient=self.gradient * share, time=tuple(each * share for each in self.time))

    @cached_property
    def row_of_all(self) -> SignalRow:
        """The row that one batch of all these samples would have given."""
        return replace(
            self.row,
            moment=self.square / self.entries if self.entries else nan,
            variation=sqrt(self.between / self.square) if self.square > 0 else nan,
            gradient=self.gradient / self.entries if self.entries else nan,
            saturated=self.saturated / self.entries if self.entries else nan,
            dead=nan if self.off is None else float(self.off.double().mean()),
            largest=self.largest,
            time=self.time,
        )
