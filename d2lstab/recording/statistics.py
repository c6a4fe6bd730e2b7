"""What is measured of one tensor, in as few passes as will do; every answer stays on its device."""

from collections.abc import Callable
from functools import cache
from math import inf, prod

import torch
from torch import Tensor
from torch._C._functorch import TransformType, get_interpreter_stack, peek_interpreter_stack
from torch._subclasses.fake_tensor import FakeTensor

from ..activations import value_and_slope

WIDE = (torch.float32, torch.float64)


def measurable(tensor: Tensor) -> bool:
    """Whether second moments make sense: a dense, non-empty tensor of real or complex numbers that exist."""
    if tensor.is_meta or isinstance(tensor, FakeTensor) or (peek_interpreter_stack() is not None and _in_vmap()):
        return False
    dtype = tensor.dtype  # of quantized tensors neither of the two
    numbers = dtype.is_floating_point or dtype.is_complex
    return numbers and tensor.layout is torch.strided and tensor.numel() > 0


def _in_vmap() -> bool:
    """Whether torch.vmap is calling: what is measured there could not be read outside."""
    return any(each.key() == TransformType.Vmap for each in get_interpreter_stack() or ())


def norm(tensor: Tensor) -> Tensor:
    """The root of Σ |x|², in at least float32: float64 would be exact everywhere, and several times slower."""
    if tensor.dtype in WIDE:
        return torch.linalg.vector_norm(tensor)
    if tensor.is_complex():
        return norm(torch.view_as_real(tensor))
    if not tensor.is_floating_point():  # of parameters that only count
        return norm(tensor.double())
    return torch.linalg.vector_norm(tensor, dtype=torch.float32)


def dense(tensor: Tensor) -> Tensor:
    """The same numbers, none of them left out: gradients of embeddings may come sparse."""
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def at_hand(tensor: Tensor) -> bool:
    """Whether its numbers can be read without waiting for a device, or a transform such as torch.func.grad."""
    return tensor.is_cpu and peek_interpreter_stack() is None


def usual(norm: Tensor) -> bool:
    """Whether a norm is neither 0, infinite nor NaN; False without a look where the host would wait for the answer."""
    return at_hand(norm) and 0 < norm.item() < inf


def pair_difference(tensor: Tensor, batch: int | None) -> Tensor | None:
    """The differences of samples about half a batch apart; None where samples cannot be told apart.

    Half their mean square is the variance between samples. Unlike E x² − (E x)² it does not cancel.
    """
    by_sample = split_by_sample(tensor, batch)
    if by_sample is None:
        return None
    samples = by_sample.shape[0]
    apart = min(samples // 2 + 1, samples - 1)  # not half: a batch may hold everything twice
    return by_sample[:-apart] - by_sample[apart:]


def split_by_sample(tensor: Tensor, batch: int | None) -> Tensor | None:
    """The tensor with one sample per entry of its first axis, or None where no axis is the batch."""
    if batch is None or batch < 2 or tensor.dim() == 0:
        return None
    if tensor.shape[0] == batch:
        return tensor
    if tensor.shape[0] % batch == 0 and tensor.is_contiguous():
        return tensor.view(batch, -1)
    if tensor.dim() > 1 and tensor.shape[1] == batch:  # time first
        return tensor.transpose(0, 1)
    return None


def extremes(tensor: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """min x and max x of each unit; NaN where an entry is."""
    least = most = tensor
    for axes in _stages(axis, tensor.dim(), axis >= 0 and _in_short_runs(tensor, axis)):
        least, most = least.amin(axes), most.amax(axes)
    return least, most


def _in_short_runs(tensor: Tensor, axis: int) -> bool:
    """Whether few entries of a unit lie side by side."""
    return tensor.is_contiguous() and prod(tensor.shape[axis + 1 :]) < 128


@cache
def _stages(axis: int, axes: int, short: bool) -> list[tuple[int, ...]]:
    """What to reduce to leave this axis: those behind it, and the first again and again; all at once is slower.

    Short runs are slow to reduce, as long as there are many: those behind come last then.
    """
    axis = axis % axes if axes else 0
    before, behind = [(0,)] * axis, tuple(range(axis + 1, axes))
    if not behind:
        return before
    return [*before, tuple(range(1, axes - axis))] if short else [behind, *before]


def live_range(f: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """The inputs between which |f′| is at least 1 % of its largest; infinite where the slope stays so.

    From a grid of steps of 1/64 on ±32.
    """
    z = torch.arange(-32, 32 + 1 / 128, 1 / 64, dtype=torch.float64, device="cpu")
    slope = value_and_slope(f, z)[1].abs()
    live = z[slope >= 0.01 * slope.max()]
    low, high = float(live[0]), float(live[-1])
    return (low if low > z[0] else -inf), (high if high < z[-1] else inf)


def largest(tensor: Tensor) -> Tensor:
    """max |x|, infinite or NaN where an entry is."""
    if tensor.is_complex():
        return tensor.abs().max()
    least, most = torch.aminmax(tensor)
    return torch.maximum(most, -least)


def norms_along(axis: int, values: dict, gradient: Tensor) -> None:
    """Puts the norm of each slice along the axis of a gradient into `values`, under "time"."""
    others = [each for each in range(gradient.dim()) if each != axis]
    values["time"] = torch.linalg.vector_norm(gradient.detach(), dim=others, dtype=torch.float64)


def add_gradient(values: dict, full: bool, gradient: Tensor) -> None:
    """Adds the norm of a gradient to those in `values`; if full, its largest entry as well where the norm may hide it."""
    if not measurable(gradient):
        return
    gradient = gradient.detach()
    size = norm(gradient)
    _add(values, "gradient_norm", size, torch.hypot)
    if full and not usual(size):  # what else lets entries be infinite or NaN, or their squares
        _add(values, "gradient_largest", largest(gradient), torch.maximum)


def _add(values: dict, name: str, found: Tensor, add: Callable[[Tensor, Tensor], Tensor]) -> None:
    known = values.get(name)
    if known is not None:  # a number, where rows were read before this backward pass
        found = add(known if isinstance(known, Tensor) else found.new_tensor(known), found)
    values[name] = found


def flat_entries(z: Tensor, limits: tuple[float, float] | None) -> Tensor | None:
    """How many z are so far out that an activation with these limits is flat; None where that has no meaning."""
    if limits is None or not measurable(z) or not z.is_floating_point():
        return None
    return count_outside(z.detach(), *limits)


def count_outside(tensor: Tensor, low: float, high: float) -> Tensor:
    """How many entries are beyond low and high, those on a finite limit included."""
    if at_hand(tensor) and (low == -inf or low < tensor.amin().item()) and (high == inf or tensor.amax().item() < high):
        return torch.zeros((), device="cpu")  # as in most layers of a sound network, and several times faster to tell
    # Comparisons that write 1 or 0 as floats are several times faster than those that write booleans.
    if -low == high < inf:
        return _sum(tensor.abs().ge_(high))
    outside = [_sum(torch.le(tensor, low, out=torch.empty_like(tensor)))] if low > -inf else []
    outside += [_sum(torch.ge(tensor, high, out=torch.empty_like(tensor)))] if high < inf else []
    return sum(outside[1:], outside[0]) if outside else torch.zeros((), device=tensor.device)


def _sum(ones: Tensor) -> Tensor:
    return ones.sum() if ones.dtype in WIDE else ones.sum(dtype=torch.float32)
