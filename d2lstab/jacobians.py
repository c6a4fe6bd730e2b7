"""The gradient as a product of layer Jacobians."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from .plotting import Axes, histogram, new_axes
from .results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(Result):
    """The singular values of a Jacobian."""

    singular_values: Tensor  # (..., k), largest first

    @property
    def mean_square(self) -> Tensor:
        """The mean squared singular value, (...): the factor by which a random gradient's square grows."""
        return self.singular_values.square().mean(-1)

    @property
    def spread(self) -> Tensor:
        """The variance of the squared singular values over their squared mean, (...): 0 means isometry."""
        squares = self.singular_values.square()
        return squares.var(-1, correction=0) / squares.mean(-1).square()

    @property
    def condition(self) -> Tensor:
        """The largest over the smallest singular value, (...)."""
        return self.singular_values[..., 0] / self.singular_values[..., -1]

    def plot(self, ax: Axes | None = None, **style) -> Axes:
        """Axes with the distribution of the singular values, in powers of ten."""
        ax = new_axes(ax)
        ax.set(xlabel="log₁₀ singular value", ylabel="density")
        return histogram(ax, self.singular_values.log10(), **style)


@torch.no_grad()  # the parameters stay out of it: torch.func differentiates with respect to x alone
def layer_jacobians(network: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """The Jacobian ∂h⁽ˡ⁾/∂h⁽ˡ⁻¹⁾ of each layer at the input x, first layer first, each (..., out, in).

    network: a Sequential, or any iterable of modules applied one after the other. x: (features,) for one
    example or (batch, features). The network is copied and its copy evaluated in eval mode: nothing of it changes.
    Raises TypeError if the network cannot be iterated, ValueError if x does not fit a layer.
    Source: Zhang et al., Dive into Deep Learning, §5.4.1.
    """
    if not isinstance(network, Iterable):
        raise TypeError(f"network of type {type(network).__name__}\nexpected an nn.Sequential or a list of layers")
    layers = [copy.deepcopy(layer).eval() for layer in network]
    jacobians, h = [], x.detach()
    for index, layer in enumerate(layers):
        derivative = jacrev(layer) if x.dim() == 1 else vmap(jacrev(layer))
        try:
            jacobian, h = derivative(h), layer(h)
        except RuntimeError as error:
            raise ValueError(
                f"layer {index}, {layer}, got an input of shape {tuple(h.shape)}\nexpected one that fits it: {error}"
            ) from error
        jacobians.append(jacobian)
    return jacobians


def input_jacobian(network: nn.Module, x: Tensor) -> Tensor:
    """The Jacobian ∂o/∂x of the whole network at x, (..., out, in).

    x: (features,) or (batch, features). The network is left as it was, as in `layer_jacobians`, and the
    errors are the same.
    """
    return layer_jacobians([network], x)[0]


def chain(jacobians: Sequence[Tensor]) -> list[Tensor]:
    """The products M⁽ᴸ⁾ ⋯ M⁽ˡ⁺¹⁾ for l = 0 … L, each (..., out, width of layer l); the last is the identity.

    jacobians: those of `layer_jacobians`, first layer first. Raises ValueError if there are none.
    """
    if not len(jacobians):
        raise ValueError("no Jacobians\nexpected at least one")
    last = jacobians[-1]
    product = torch.eye(last.shape[-2], dtype=last.dtype, device=last.device).expand(*last.shape[:-2], -1, -1)
    products = [product]
    for jacobian in reversed(jacobians):
        products.append(product := product @ jacobian)
    return products[::-1]


def singular_values(matrix: Tensor) -> Tensor:
    """The singular values of (..., out, in) matrices, (..., min(out, in)), largest first, in float64.

    Those below rounding, ε · max(out, in) · the largest, cannot be told from 0 and come back as NaN.
    """
    values = torch.linalg.svdvals(matrix.double())
    noise = torch.finfo(matrix.dtype).eps * max(matrix.shape[-2:]) * values[..., :1]
    return values.masked_fill(values < noise, torch.nan)


def isometry(network: nn.Module, x: Tensor) -> Spectrum:
    """The singular values of the network's input-output Jacobian at x.

    x: (features,) or (batch, features). At dynamical isometry all of them are 1.
    Raises what `input_jacobian` raises. Source: Saxe et al. 2014, arXiv:1312.6120; Pennington et al. 2017,
    arXiv:1711.04735.
    """
    return Spectrum(torch.linalg.svdvals(input_jacobian(network, x).double()))


