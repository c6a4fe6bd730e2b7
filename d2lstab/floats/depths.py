"""Where a chain of equal factors leaves a format, and the line of numbers on which it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf, log, log2, log10

import torch
from torch import Tensor

from ..plotting import COLOURS, Axes, new_axes
from ..results import Result
from ..signatures import checked
from .formats import FLOAT_FORMATS, FloatFormat, describe

_MARKERS = "ovsDP^"
_INK, _PALE = "#8C8C8C", "#D9D9D9"


@checked
def underflow_depth(factor: float, dtype: torch.dtype, *, subnormals: bool = True) -> int:
    """The first depth L at which factorᴸ rounds to 0.

    It is the exact power that is rounded, to the nearest number of the format and in a tie to even; a running
    product that is rounded at every step may differ. subnormals=False is for hardware that flushes them to 0.
    Raises ValueError unless 0 < factor < 1.

    >>> underflow_depth(0.25, torch.float16)  # a sigmoid's slope is at most ¼
    13
    """
    if not 0 < factor < 1:
        raise ValueError(f"factor={factor}\nexpected a number between 0 and 1: others never underflow")
    limits = describe(dtype)
    # In powers of two the limit is exact: half the smallest subnormal still rounds to 0, the smallest normal is kept.
    limit = log2(limits.min_subnormal) - 1 if subnormals else log2(limits.min_normal)
    depth = max(1, int(limit / log2(factor)))
    while depth * log2(factor) > limit or (not subnormals and depth * log2(factor) == limit):
        depth += 1
    return depth


@checked
def overflow_depth(growth: float, dtype: torch.dtype) -> float:
    """The depth L, a real number, at which growthᴸ reaches the largest number: ln max / ln growth.

    Raises ValueError unless growth > 1.

    >>> round(overflow_depth(2.0, torch.float32), 2)  # the largest number is just below 2¹²⁸
    128.0
    """
    if not 1 < growth < inf:
        raise ValueError(f"growth={growth}\nexpected a finite number above 1: others never overflow")
    return log(describe(dtype).max) / log(growth)


@dataclass(frozen=True, eq=False, repr=False)
class NumberLine(Result):
    """The ranges of float formats, and the layer at which each chain of equal factors leaves each of them.

    >>> formats = {"float16": torch.float16, "float32": torch.float32}
    >>> number_line({"a gain of 2": 2.0, "a sigmoid's slope": 0.25}, formats=formats).layers  # chains, formats
    tensor([[ 16, 128],
            [ 13,  75]])
    """

    formats: dict[str, FloatFormat]
    chains: dict[str, float]  # factor per layer
    layers: Tensor  # (chains, formats), the first layer whose power of the factor is 0 or beyond the largest number

    def _rows(self) -> list[tuple[str, str]]:
        """One row per chain: the layer at which it leaves each format."""
        return [
            (name, ", ".join(f"{each} {layer}" for each, layer in zip(self.formats, layers)))
            for name, layers in zip(self.chains, self.layers.tolist())
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Axes with one bar per format on a log₁₀ axis, and a marker with the layer where each chain leaves it."""
        rows, lanes = len(self.formats), len(self.chains)
        ax = new_axes(ax, figsize=(9, 0.9 + 0.18 * rows * (1 + lanes)))
        for row, limits in enumerate(self.formats.values()):
            low, normal, high = (log10(edge) for edge in (limits.min_subnormal, limits.min_normal, limits.max))
            ax.barh(row, normal - low, left=low, height=0.8, color=_PALE, label="subnormal" if row == 0 else None)
            ax.barh(
                row, high - normal, left=normal, height=0.8, color=_INK, alpha=0.55, label=None if row else "normal"
            )
        for lane, (name, factor) in enumerate(self.chains.items()):
            (line,) = ax.plot(
                [], [], linestyle="", marker=_MARKERS[lane % 6], color=COLOURS[lane % len(COLOURS)], label=name
            )
            for row in range(rows):
                y = row + 0.7 * (lane + 0.5) / lanes - 0.35
                self._leaving(ax, y, int(self.layers[lane, row]), log10(factor), line)
        ax.set_yticks(range(rows), self.formats)
        ax.invert_yaxis()
        ax.set(xlabel="log₁₀ of a positive number")
        ax.legend(loc="lower right")  # where the narrow formats leave room
        return ax

    @staticmethod
    def _leaving(ax: Axes, y: float, layer: int, step: float, like) -> None:
        """Draws a chain's way from 1 to the end of a format, in steps of log₁₀ factor, and the layer it ends at."""
        ax.plot([0, layer * step], [y, y], color=like.get_color(), linestyle="-", linewidth=1)
        ax.plot(layer * step, y, color=like.get_color(), marker=like.get_marker(), markersize=5)
        offset, side = ((-6, 0), "right") if step < 0 else ((6, 0), "left")
        place = {"xytext": offset, "textcoords": "offset points", "ha": side, "va": "center"}
        ax.annotate(str(layer), (layer * step, y), fontsize=9, **place)


@checked
def number_line(chains: Mapping[str, float], *, formats: Mapping[str, torch.dtype] | None = None) -> NumberLine:
    """The ranges of the formats, and the first layer at which each chain is 0 or beyond the largest number.

    chains: label -> factor per layer. formats: label -> dtype, all of `FLOAT_FORMATS` but float64 by default, whose
    line is eight times as long as the next.
    Raises ValueError for a factor that is not positive or is 1, and for a dtype outside `FLOAT_FORMATS`; TypeError for
    chains that have no labels.

    >>> ax = number_line({"sigmoid's slope": 0.25, "a gain of 2": 2.0}).plot()
    """
    formats = (
        {name: dtype for name, dtype in FLOAT_FORMATS.items() if name != "float64"} if formats is None else formats
    )
    if not isinstance(chains, Mapping):
        raise TypeError(f"chains of type {type(chains).__name__}\nexpected a dict, label -> factor per layer")
    limits = {name: describe(dtype) for name, dtype in formats.items()}
    layers = [[_leaves_at(factor, dtype) for dtype in formats.values()] for factor in chains.values()]
    return NumberLine(limits, dict(chains), torch.tensor(layers, device="cpu").reshape(len(chains), len(formats)))


def _leaves_at(factor: float, dtype: torch.dtype) -> int:
    if not factor > 1:
        return underflow_depth(factor, dtype)
    depth, largest = overflow_depth(factor, dtype), describe(dtype).max
    # Logarithms cannot tell a power that is the largest number from one just above; short powers can be written out.
    if depth < 64 and abs(depth - round(depth)) < 1e-9:
        return round(depth) + (Fraction(factor) ** round(depth) <= Fraction(largest))
    return ceil(depth)
