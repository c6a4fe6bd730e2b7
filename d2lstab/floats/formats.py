"""The formats and their limits."""

from dataclasses import dataclass
from math import frexp

import torch

from ..results import Result
from ..signatures import checked

FLOAT_FORMATS: dict[str, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float8_e5m2": torch.float8_e5m2,
    "float8_e4m3fn": torch.float8_e4m3fn,
}
"""torch's floating-point formats by name.

>>> {name: describe(dtype).eps for name, dtype in FLOAT_FORMATS.items() if "16" in name}
{'bfloat16': 0.0078125, 'float16': 0.0009765625}
"""


@dataclass(frozen=True, eq=False, repr=False)
class FloatFormat(Result):
    """The limits of a floating-point format.

    >>> half, brain = describe(torch.float16), describe(torch.bfloat16)
    >>> half.eps < brain.eps, half.max < brain.max  # of the same 16 bits: finer, and sooner at an end
    (True, True)
    """

    dtype: torch.dtype  # torch's name of it
    max: float  # the largest finite number
    min_normal: float  # the smallest positive number with full precision
    min_subnormal: float  # the smallest positive number
    eps: float  # distance from 1 to the next larger number


@checked
def describe(dtype: torch.dtype) -> FloatFormat:
    """The limits of a format of `FLOAT_FORMATS`.

    Raises ValueError for any other dtype.
    Source: IEEE 754-2019; Micikevicius et al. 2022, arXiv:2209.05433, table 1 (float8).

    >>> describe(torch.float16)
    FloatFormat(dtype: torch.float16, max: 6.55e+04, min_normal: 6.104e-05, min_subnormal: 5.96e-08, eps: 0.0009766)
    """
    if dtype not in FLOAT_FORMATS.values():
        raise ValueError(f"dtype={dtype!r}\nexpected one of {', '.join(map(str, FLOAT_FORMATS.values()))}")
    limits = torch.finfo(dtype)
    return FloatFormat(dtype, limits.max, limits.smallest_normal, limits.smallest_normal * limits.eps, limits.eps)


@checked
def ulp(x: float, dtype: torch.dtype) -> float:
    """The distance from |x| to the next larger number of the format.

    Raises ValueError if |x| is beyond the largest one, or not a number.

    >>> ulp(1.0, torch.float16), ulp(1000.0, torch.float16), ulp(2000.0, torch.float16)
    (0.0009765625, 0.5, 1.0)
    """
    limits = describe(dtype)
    if not abs(x) <= limits.max:
        raise ValueError(f"x={x} in {dtype}\nexpected a number of at most {limits.max:g} in size")
    exponent = frexp(max(abs(x), limits.min_normal))[1] - 1  # floor(log2|x|), exactly
    return 2.0**exponent * limits.eps
