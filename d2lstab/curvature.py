"""The largest curvature of a loss."""

from collections.abc import Iterable, Sequence
from math import nan

import torch
from torch import Tensor

from .arguments import whole_numbers
from .randomness import normal, seeded
from .signatures import checked

__all__ = ["sharpness"]


@checked
def sharpness(loss: Tensor, parameters: Iterable[Tensor], *, rounds: int = 50, tolerance: float = 1e-3) -> float:
    """The largest eigenvalue of the Hessian of a loss with respect to parameters; NaN where either is not finite.

    loss: a scalar that still has its graph, which is kept. parameters: those of the model, or a part of them. Lanczos'
    method on Hessian-vector products from a seeded start: at most `rounds` of them, fewer where the eigenvalue is
    known to `tolerance` of itself. Each leaves a vector of 8 bytes per entry of the parameters, which are kept until the
    end: 50 rounds of a million entries take 400 MB. The largest by value: gradient descent with a learning rate of η leaves a minimum
    where it is above 2/η. Kinks, as in ReLU, have no curvature.
    Raises TypeError if loss is no tensor, and ValueError for a loss that is not a scalar or has no graph, for
    parameters that are none or that it does not depend on, for an operation in it that cannot be differentiated
    twice, rounds < 1, or a tolerance that is not positive.
    Source: Cohen, Kaur, Li, Kolter, Talwalkar 2021, arXiv:2103.00065.

    >>> x = torch.ones(2, requires_grad=True)
    >>> loss = 3 * x[0] ** 2 + x[1] ** 2
    >>> round(sharpness(loss, [x]), 3)  # of second derivatives 6 and 2
    6.0
    """
    (rounds,) = whole_numbers(rounds=rounds)
    parameters = _checked(loss, parameters, tolerance)
    gradients = _once(loss, parameters)
    _check_reached(gradients)
    reached = [(g, p) for g, p in zip(gradients, parameters) if g is not None]
    slopes, reached = [g for g, _ in reached], [p for _, p in reached]
    if not all(bool(g.isfinite().all()) for g in slopes) or not bool(loss.isfinite()):
        return nan
    bent = [g for g in slopes if g.requires_grad]  # the others are constant
    if not bent:
        return 0.0

    def product(vector: Tensor) -> Tensor:
        parts = [part.view_as(g) for part, g in zip(vector.split([g.numel() for g in slopes]), slopes)]
        along = [part.to(g.dtype) for part, g in zip(parts, slopes) if g.requires_grad]
        turned = _twice(bent, reached, along)
        return torch.cat([each.detach().flatten() for each in turned]).double()

    return _largest_eigenvalue(product, sum(g.numel() for g in slopes), loss.device, rounds, tolerance)


def _once(loss: Tensor, parameters: list[Tensor]) -> Sequence[Tensor | None]:
    try:
        return torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
    except RuntimeError as error:
        if "backward through the graph a second time" not in str(error):
            raise
        raise ValueError(
            "loss of which backward() has thrown the graph away\n"
            "expected one before its backward(), or after loss.backward(retain_graph=True)"
        ) from error


def _twice(slopes: list[Tensor], parameters: list[Tensor], along: list[Tensor]) -> Sequence[Tensor]:
    try:
        return torch.autograd.grad(slopes, parameters, along, retain_graph=True, materialize_grads=True)
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise ValueError(
            f"the loss cannot be differentiated twice: {error}\nexpected one that can: fused attention inside "
            "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), recurrent modules without cuDNN"
        ) from error


def _largest_eigenvalue(product, size: int, device, rounds: int, tolerance: float) -> float:
    """Of a symmetric matrix that is known by its products with vectors, in float64."""
    start = normal(size, generator=seeded(0), dtype=torch.float64, device=device)
    basis = [start / start.norm()]
    diagonal, beside, largest = [], [], nan
    for _ in range(min(rounds, size)):
        turned = product(basis[-1])
        if not bool(turned.isfinite().all()):
            return nan
        diagonal.append(float(turned @ basis[-1]))
        turned = _beside(_beside(turned, basis), basis)
        length = float(turned.norm())
        middle, off = (torch.tensor(each, dtype=torch.float64, device="cpu") for each in (diagonal, beside))
        values, vectors = torch.linalg.eigh(middle.diag() + off.diag(1) + off.diag(-1))
        largest, scale = float(values[-1]), float(values.abs().max())
        if length * abs(float(vectors[-1, -1])) <= tolerance * abs(largest) or length <= 1e-12 * scale:
            break
        beside.append(length)
        direction = _beside(turned / length, basis)
        basis.append(direction / direction.norm())
    return largest


def _beside(vector: Tensor, basis: Sequence[Tensor]) -> Tensor:
    """Without its part along the basis. Rounding brings found directions back as ghosts, so it is done repeatedly."""
    vector = vector.clone()
    for direction in basis:
        vector -= direction * (direction @ vector)
    return vector


def _checked(loss, parameters, tolerance: float) -> list[Tensor]:
    if not isinstance(loss, Tensor):
        raise TypeError(f"loss={loss!r} of type {type(loss).__name__}\nexpected a scalar tensor, before its backward()")
    if loss.numel() != 1 or not loss.requires_grad:
        graph = "with" if loss.requires_grad else "without"
        raise ValueError(
            f"loss of shape {tuple(loss.shape)}, {graph} a graph\nexpected a scalar that was computed from the parameters"
        )
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    parameters = [each for each in parameters if not isinstance(each, Tensor) or each.requires_grad]
    if not parameters or not all(isinstance(each, Tensor) for each in parameters):
        raise ValueError(
            f"parameters={sorted({type(each).__name__ for each in parameters}) or 'none that require a gradient'}\n"
            "expected tensors that require a gradient, such as model.parameters()"
        )
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance!r}\nexpected a positive number, such as 1e-3")
    return parameters


def _check_reached(gradients) -> None:
    if all(each is None for each in gradients):
        raise ValueError(
            f"the loss depends on none of the {len(gradients)} parameters\nexpected those that it was computed from"
        )
