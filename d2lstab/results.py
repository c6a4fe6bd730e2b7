"""What every experiment returns, and the form in which a chapter makes a claim."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from html import escape
from math import floor, inf, isfinite, isnan, log10
from typing import SupportsFloat

import torch
from torch import Tensor

from .signatures import checked

__all__ = ["Result", "claim"]

Numbers = Tensor | Sequence[float] | SupportsFloat  # arrays of numpy are among the last

_MOST_DIGITS = 6  # significant ones in a claim: more would differ between devices


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Base of all results: named tensors that show what they are. Those with a picture draw it: `plot(ax)`.

    >>> random_product(n=2, factors=3, trials=5)  # a result shows its tensors' shapes and dtypes
    ProductTrace(log_norm: 5×3 float64, direction: 5×2×2 float32)
    """

    def _rows(self) -> list[tuple[str, str]]:
        """One (name, description) per field."""
        return [(field.name, _describe(getattr(self, field.name))) for field in fields(self)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}: {text}' for name, text in self._rows())})"

    def _repr_html_(self) -> str:
        return html_rows(self._rows(), caption=type(self).__name__)


def html_rows(rows: Sequence[tuple[str, str]], *, caption: str) -> str:
    """An HTML table of names and sentences, which begin at the left: notebooks align cells as if they were numbers."""
    left = 'style="text-align: left"'
    body = "".join(
        f'<tr><th {left} scope="row">{escape(name)}</th><td {left}>{escape(text)}</td></tr>' for name, text in rows
    )
    return f"<table><caption>{escape(caption)}</caption>{body}</table>"


@checked
def claim(
    what: str,
    measured: Numbers,
    *,
    expected: Numbers | None = None,
    within: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Prints what was measured beside what theory says, and raises AssertionError where they differ.

    measured, expected: numbers, or sequences or tensors of numbers of one shape; expected may be one number for all.
    within: the largest absolute difference allowed; it also sets how many digits are printed, so that
    the line reads the same on every device. above, below: strict bounds, for claims without an exact value.
    Infinity equals infinity; NaN equals nothing.
    Raises ValueError if nothing is claimed: neither expected with within, nor a bound, or no number at all; and for
    measured and expected of two shapes, a tolerance that is negative or infinite, or a bound that is NaN; TypeError
    for what holds no numbers.

    >>> claim("a third", 0.3334, expected=1 / 3, within=1e-3)
    a third: 0.333 (expected 0.333 ± 0.001)
    """
    if (expected is None) != (within is None) or (expected is None and above is None and below is None):
        raise ValueError(
            f"claim {what!r} with expected={expected}, within={within}, above={above}, below={below}\n"
            "expected both expected= and within=, or a bound: above= or below="
        )
    if within is not None and not 0 <= within < inf:
        raise ValueError(f"claim {what!r} with within={within}\nexpected a finite tolerance of at least 0")
    if any(bound is not None and isnan(bound) for bound in (above, below)):
        raise ValueError(f"claim {what!r} with above={above}, below={below}\nexpected bounds that are numbers")
    values, shape = _numbers(measured)
    if not values:
        raise ValueError(
            f"claim {what!r} of shape {tuple(shape)}\nexpected one number or more: of none everything is true"
        )
    parts, holds = [], True
    if expected is not None and within is not None:
        targets, target_shape = _numbers(expected)
        if target_shape.numel() != 1 and target_shape != shape:
            raise ValueError(
                f"measured has shape {tuple(shape)} and expected {tuple(target_shape)}\nexpected one number, or one for each"
            )
        pairs = zip(values, targets * len(values) if len(targets) == 1 else targets)
        holds = all(value == target or abs(value - target) <= within for value, target in pairs)
        digits = _digits(within)
        tolerance = f" ± {within:g}" if within else " exactly"
        parts.append(f"expected {_text(targets, digits)}{tolerance}")
    else:
        digits = None
    for bound, word, beyond in ((above, "above", lambda v, b: v > b), (below, "below", lambda v, b: v < b)):
        if bound is not None:
            holds = holds and all(beyond(value, bound) for value in values)
            parts.append(f"{word} {bound:g}")
    line = f"{what}: {_text(values, digits)} ({', '.join(parts)})"
    if not holds:
        raise AssertionError(line)
    print(line)


def _numbers(value: Numbers) -> tuple[list[float], torch.Size]:
    """Numbers in a row, and the shape that they had."""
    try:
        if isinstance(value, (Tensor, Sequence)) or hasattr(value, "__array__"):
            given = (value if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")).detach()
            if not given.is_complex() and not isinstance(value, str):
                return given.to("cpu", torch.float64).flatten().tolist(), given.shape
        elif isinstance(value, SupportsFloat):
            return [float(value)], torch.Size()
    except (TypeError, ValueError, RuntimeError):  # ragged, or no numbers; an empty tensor of no storage
        pass
    raise TypeError(f"a claim of {value!r}\nexpected a number, or a sequence or tensor of numbers")


def _digits(within: float) -> float:
    """Decimals worth printing for a tolerance: down to its leading digit, all of them for none."""
    return inf if within == 0 else -floor(log10(within))


def _text(values: list[float], digits: float | None) -> str:
    return ", ".join(_number(value, digits) for value in values)


def _number(value: float, digits: float | None) -> str:
    """The value with so many decimals; None means two significant digits."""
    if not isfinite(value):
        return f"{value}"
    if digits is None or digits == inf:
        return f"{value:g}" if digits == inf or value == round(value) else f"{value:.2g}"
    exponent = int(f"{value:.{_MOST_DIGITS - 1}e}".partition("e")[2])  # that of 0.0099999999 is -2
    digits = int(min(digits, _MOST_DIGITS - 1 - exponent))
    rounded = round(value, digits) + 0.0  # no minus sign on a zero
    if rounded and (abs(rounded) < 1e-3 or abs(rounded) >= 1e6):
        return f"{rounded:.{max(0, digits + floor(log10(abs(rounded))))}e}"
    return f"{rounded:.{max(0, digits)}f}" if rounded or digits <= 3 else "0"


def _describe(value) -> str:
    if isinstance(value, Tensor):
        shape = "×".join(map(str, value.shape)) or "scalar"
        return f"{shape} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
