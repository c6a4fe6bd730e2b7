"""Formulas that lose their digits, beside the same formulas in a form that keeps them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..arguments import name_of
from ..signatures import checked
from .formats import describe

Formula = Callable[[Tensor], Tensor]


def _naive_log_sum_exp(x: Tensor) -> Tensor:
    return x.exp().sum(-1).log()


def _log_sum_exp(x: Tensor) -> Tensor:
    return x.logsumexp(-1)


def _naive_log_softmax(x: Tensor) -> Tensor:
    return x.softmax(-1).log()


def _log_softmax(x: Tensor) -> Tensor:
    return x.log_softmax(-1)


def _naive_softplus(x: Tensor) -> Tensor:
    return (1 + x.exp()).log()


def _softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))  # F.softplus returns x itself above its threshold


def _naive_log_sigmoid(x: Tensor) -> Tensor:
    return x.sigmoid().log()


def _naive_log1p(x: Tensor) -> Tensor:
    return (1 + x).log()


def _naive_expm1(x: Tensor) -> Tensor:
    return x.exp() - 1


def _naive_norm(x: Tensor) -> Tensor:
    return x.square().sum(-1).sqrt()


def _norm(x: Tensor) -> Tensor:
    # torch.linalg.vector_norm squares as well. A power of two of the size of the largest entry divides without error.
    _, exponent = torch.frexp(x.abs().amax(-1, keepdim=True))
    return torch.ldexp(_naive_norm(torch.ldexp(x, -exponent)), exponent.squeeze(-1))


def _naive_variance(x: Tensor) -> Tensor:
    return x.square().mean(-1) - x.mean(-1).square()


def _variance(x: Tensor) -> Tensor:
    return x.var(-1, correction=0)


STABLE_FORMS: dict[str, tuple[Formula, Formula]] = {
    "log-sum-exp": (_naive_log_sum_exp, _log_sum_exp),
    "log-softmax": (_naive_log_softmax, _log_softmax),
    "softplus": (_naive_softplus, _softplus),
    "log-sigmoid": (_naive_log_sigmoid, F.logsigmoid),
    "log(1 + x)": (_naive_log1p, torch.log1p),
    "exp(x) − 1": (_naive_expm1, torch.expm1),
    "norm": (_naive_norm, _norm),
    "variance": (_naive_variance, _variance),
}
"""Formulas by name, each as a pair: naive, stable. Those that sum do so over the last axis, others entry by entry.

>>> naive, stable = STABLE_FORMS["log-sum-exp"]
>>> x = torch.tensor([1000.0, 1000.0])
>>> float(naive(x)), round(float(stable(x)), 2)  # 1000 + ln 2
(inf, 1000.69)
"""


@checked
def relative_error(
    formula: Formula, x: Tensor, dtype: torch.dtype = torch.float32, *, exact: Formula | None = None
) -> Tensor:
    """|computed − exact| / |exact| of a formula computed in the dtype, float64, of the formula's shape.

    x is rounded to the dtype first, and the rounding is not counted as an error. exact: a formula that float64
    computes well, such as the stable one of a pair; the formula itself by default. The error is ∞ where the
    formula gives ∞ or NaN and the exact value is finite, or gives anything but 0 for 0.
    Raises TypeError unless x and what the formulas make of it are tensors of floats, ValueError for a dtype outside
    `FLOAT_FORMATS`, for an operation that the device does not have in this dtype, a formula that fails, and two
    formulas of different shapes.

    >>> naive, stable = STABLE_FORMS["log(1 + x)"]
    >>> x = torch.tensor([1e-10], dtype=torch.float64)
    >>> [round(float(relative_error(form, x, exact=stable)), 2) for form in (naive, stable)]  # ln 1 is 0: all is lost
    [1.0, 0.0]
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x of type {given}\nexpected a tensor of floats, in float64 best of all")
    rounded = x.to(describe(dtype).dtype)
    computed = _evaluated(formula, rounded).double()
    truth = _evaluated(formula if exact is None else exact, rounded.double())
    if computed.shape != truth.shape:
        raise ValueError(
            f"{name_of(formula)} gives shape {tuple(computed.shape)}, the exact formula {tuple(truth.shape)}\n"
            "expected one shape of both"
        )
    error = ((computed - truth) / truth).abs()
    return torch.where(computed == truth, 0.0, error.nan_to_num(nan=torch.inf, posinf=torch.inf))


def _evaluated(formula: Formula, x: Tensor) -> Tensor:
    """formula(x). Raises ValueError for what torch cannot compute of it, TypeError if it is no floating tensor."""
    try:
        made = formula(x)
    except (RuntimeError, ValueError, TypeError) as error:
        missing = isinstance(error, NotImplementedError)  # an operation, in this dtype
        expected = (
            "a dtype that this device computes in; emulate others: compute in float32, then round with .to()"
            if missing
            else "a formula of such a tensor"
        )
        raise ValueError(
            f"{name_of(formula)} in {x.dtype} on {x.device.type}: {str(error).splitlines()[0]}\nexpected {expected}"
        ) from error
    if not isinstance(made, Tensor) or not made.is_floating_point():
        raise TypeError(f"{name_of(formula)} returned {type(made).__name__}\nexpected a floating tensor")
    return made
