"""Limits on gradients, seed by seed: each gradient has a leading seeds axis."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..signatures import checked


@checked
def clip_by_value_(gradients: Sequence[Tensor], limit: float) -> Tensor:
    """The global norm of each seed's gradient before every entry is clipped to ±limit, in place, (seeds,).

    gradients: a list of floats, each (seeds, ...). Raises ValueError for others, and unless limit > 0; TypeError for one
    tensor in place of a list.

    >>> gradients = [torch.tensor([[3.0, -0.5]]), torch.tensor([[-4.0]])]  # of one seed, two tensors
    >>> norm = clip_by_value_(gradients, limit=1.0)
    >>> gradients
    [tensor([[ 1.0000, -0.5000]]), tensor([[-1.]])]
    """
    _check(gradients, limit)
    norm = norm_over(gradients)
    for gradient in gradients:
        gradient.clamp_(-limit, limit)
    return norm


@checked
def clip_by_norm_(gradients: Sequence[Tensor], limit: float) -> Tensor:
    """The global norm of each seed's gradient before each tensor's norm is clipped to `limit`, in place, (seeds,).

    gradients: a list of floats, each (seeds, ...). Raises ValueError for others, and unless limit > 0; TypeError for one
    tensor in place of a list.

    >>> gradients = [torch.tensor([[3.0]]), torch.tensor([[4.0]])]  # of one seed, two tensors
    >>> norm = clip_by_norm_(gradients, limit=1.0)
    >>> norm.tolist(), [round(float(each), 3) for each in gradients]  # each on its own
    ([5.0], [1.0, 1.0])
    """
    _check(gradients, limit)
    norm = norm_over(gradients)
    for gradient in gradients:
        _shrink_(gradient, limit, _norm(gradient, torch.float64))
    return norm


@checked
def clip_by_global_norm_(gradients: Sequence[Tensor], limit: float) -> Tensor:
    """The global norm of each seed's gradient before that norm is clipped to `limit`, in place, (seeds,).

    gradients: floats, each (seeds, ...). Per seed it is torch.nn.utils.clip_grad_norm_; a norm that is not finite makes
    that seed's gradient 0 or NaN, as it does there, and no other's. Raises what `clip_by_norm_` raises.
    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.

    >>> gradients = [torch.tensor([[3.0]]), torch.tensor([[4.0]])]  # of one seed, two tensors
    >>> norm = clip_by_global_norm_(gradients, limit=1.0)
    >>> norm.tolist(), [round(float(each), 3) for each in gradients]  # their direction stays
    ([5.0], [0.6, 0.8])
    """
    _check(gradients, limit)
    norm = norm_over(gradients)
    for gradient in gradients:
        _shrink_(gradient, limit, norm)
    return norm


def norm_over(gradients: Sequence[Tensor]) -> Tensor:
    """The norm over all tensors, (seeds,), in float64: the square of a finite float32 may not be one."""
    return torch.linalg.vector_norm(norm_of_each(gradients), dim=0)


def norm_of_each(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of each tensor, (tensors, seeds), in float64."""
    dtypes = [torch.float32 if gradient.dtype == torch.float32 else torch.float64 for gradient in gradients]
    norms = torch.stack([_norm(gradient, dtype).double() for gradient, dtype in zip(gradients, dtypes)])
    # Where a square may have been too large or too small for float32, the sum needs a second, slower look.
    doubtful = ~((norms > 1e-15) & (norms < 1e15)).all(1)
    for place in doubtful.nonzero().flatten().tolist():
        norms[place] = _norm(gradients[place], torch.float64)
    return norms


def _norm(gradient: Tensor, dtype: torch.dtype) -> Tensor:
    # Over all but the first axis as they lie in memory: flattening would copy a transposed one.
    axes = tuple(range(1, gradient.dim()))
    return torch.linalg.vector_norm(gradient, dim=axes, dtype=dtype) if axes else gradient.abs().to(dtype)


def _shrink_(gradient: Tensor, limit: float, norm: Tensor) -> None:
    """Scales each seed's gradient so that `norm` becomes at most the limit."""
    factor = (limit / (norm + 1e-6)).clamp(max=1)  # torch's own 1e-6, so that one seed alone agrees with torch
    gradient.mul_(factor.to(gradient.dtype).reshape(-1, *[1] * (gradient.dim() - 1)))


def _check(gradients: Sequence[Tensor], limit: float) -> None:
    if isinstance(gradients, Tensor):
        raise TypeError(
            f"gradients is one tensor of shape {tuple(gradients.shape)}\nexpected a list of tensors, each (seeds, ...)"
        )
    if not len(gradients) or not all(isinstance(each, Tensor) and each.dim() for each in gradients):
        raise ValueError(
            f"gradients={[type(each).__name__ for each in gradients]}\nexpected tensors, each (seeds, ...), at least one"
        )
    if len({len(each) for each in gradients}) > 1 or not all(each.is_floating_point() for each in gradients):
        given = ", ".join(f"{str(each.dtype).removeprefix('torch.')} {tuple(each.shape)}" for each in gradients)
        raise ValueError(f"gradients={given}\nexpected tensors of floats, each (seeds, ...), with one number of seeds")
    if not limit > 0:
        raise ValueError(f"limit={limit}\nexpected a positive number")
