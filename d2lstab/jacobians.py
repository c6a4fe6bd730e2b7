"""The gradient as a product of layer Jacobians."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .plotting import Axes, histogram, new_axes
from .randomness import streams_kept
from .results import Result
from .signatures import checked

__all__ = ["Spectrum", "chain", "input_jacobian", "isometry", "layer_jacobians", "singular_values"]


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(Result):
    """The singular values of a Jacobian.

    >>> spectrum = isometry(Scale(2.0), torch.ones(3))
    >>> [round(float(value), 4) for value in (spectrum.mean_square, spectrum.spread, spectrum.condition)]
    [4.0, 0.0, 1.0]
    """

    singular_values: Tensor  # (..., k), largest first; NaN where rounding has swallowed them

    @property
    def mean_square(self) -> Tensor:
        """The mean squared singular value, (...): what a Jacobian does to squared lengths on average."""
        return self._squares.mean(-1)

    @property
    def spread(self) -> Tensor:
        """The variance of the squared singular values over their squared mean, (...): 0 means isometry."""
        return self._squares.var(-1, correction=0) / self.mean_square.square()

    @property
    def condition(self) -> Tensor:
        """The largest over the smallest singular value, (...); NaN where the smallest is not known."""
        return self.singular_values[..., 0] / self.singular_values[..., -1]

    @property
    def _squares(self) -> Tensor:
        # What rounding swallowed is 0 beside the largest; a Jacobian that is not finite has no largest.
        lost = self.singular_values.isnan() & ~self.singular_values[..., :1].isnan()
        return self.singular_values.square().masked_fill(lost, 0)

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Axes with the distribution of the singular values, in powers of ten; a note counts those it cannot show."""
        ax = new_axes(ax)
        ax.set(xlabel="log₁₀ singular value", ylabel="density")
        shown = self.singular_values[self.singular_values > 0]
        missing = self.singular_values.numel() - len(shown)
        if missing:
            note = f"{missing} of {self.singular_values.numel()} not shown: 0, or lost to rounding"
            ax.text(0.02, 0.98, note, transform=ax.transAxes, va="top", fontsize=8)
        return histogram(ax, shown.log10(), **style)


@checked
def layer_jacobians(model: Iterable[nn.Module], inputs: Tensor) -> list[Tensor]:
    """The Jacobian ∂h⁽ˡ⁾/∂h⁽ˡ⁻¹⁾ of each layer for each example, first layer first, each (..., out, in).

    model: a Sequential, or any iterable of modules applied one after the other, in the modes they are in: batch
    normalization needs eval(), and dropout has one Jacobian there. inputs: a batch (batch, ...); (features,) is one
    example, whose Jacobians are matrices, and one picture is x[None]. Inputs and outputs of any shape are flattened,
    so that the Jacobians of neighbouring layers multiply. An example for which a layer returns NaN has
    NaN for that layer's Jacobian. Forward hooks are called, backward hooks are
    not. Afterwards the model is as it was: parameters, buffers, gradients, modes, attributes, random numbers.
    Raises TypeError for a model that is not an iterable of modules or a layer that does not return a tensor,
    ValueError if there is no layer, inputs are not finite floating numbers of at least one example or do not
    fit a layer, or the examples act on one another.
    Source: Zhang et al., Dive into Deep Learning, §5.4.1.

    >>> network, x = mlp([4, 8, 2], torch.tanh, initializer=INITIALIZERS["He"]), torch.ones(4)
    >>> first, second = layer_jacobians(network, x)
    >>> first.shape, second.shape, torch.allclose(second @ first, input_jacobian(network, x), atol=1e-5)
    (torch.Size([8, 4]), torch.Size([2, 8]), True)
    """
    if not isinstance(model, Iterable) or isinstance(model, Tensor):
        raise TypeError(f"model of type {type(model).__name__}\nexpected an nn.Sequential or a list of layers")
    layers = list(model)
    if not layers or not all(isinstance(layer, nn.Module) for layer in layers):
        kinds = ", ".join(type(layer).__name__ for layer in layers) or "no layer"
        raise (TypeError if layers else ValueError)(f"model of {kinds}\nexpected one nn.Module or more")
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.dim() == 0 or not inputs.numel():
        tensor = isinstance(inputs, Tensor)
        given = f"shape {tuple(inputs.shape)}, {inputs.dtype}" if tensor else f"type {type(inputs).__name__}"
        raise ValueError(f"inputs of {given}\nexpected a floating batch (batch, ...) that is not empty")
    bad = int((~inputs.isfinite()).sum())
    if bad:
        raise ValueError(f"inputs with {bad} of {inputs.numel()} entries infinite or NaN\nexpected finite numbers")

    jacobians = []
    with torch.inference_mode(False), torch.enable_grad(), streams_kept([inputs.device]):
        h = inputs.detach().clone() if inputs.dim() > 1 else inputs.detach().clone()[None]
        for index, layer in enumerate(layers):
            with _borrowed(layer) as function:
                h, jacobian = _step(function, h, f"layer {index}, {layer},")
            jacobians.append(jacobian if inputs.dim() > 1 else jacobian[0])
    return jacobians


@checked
def input_jacobian(model: nn.Module, inputs: Tensor) -> Tensor:
    """The Jacobian ∂o/∂x of the whole model for each example, (..., out, in).

    inputs: (batch, ...), or (features,) for one example. What comes back and what is left as it was is as with
    `layer_jacobians` of a model of one layer. Raises what `layer_jacobians` raises.

    >>> input_jacobian(nn.ReLU(), torch.tensor([-1.0, 2.0]))
    tensor([[0., 0.],
            [0., 1.]])
    """
    return layer_jacobians([model], inputs)[0]


@checked
def chain(jacobians: Iterable[Tensor]) -> list[Tensor]:
    """The products M⁽ᴸ⁾ ⋯ M⁽ˡ⁺¹⁾ for l = 0 … L, each (..., out, width of layer l); the last is the identity.

    jacobians: those of `layer_jacobians`, first layer first. Raises ValueError if there are none or two
    neighbours do not fit, TypeError if one is no tensor.

    >>> products = chain([2 * torch.eye(2), 3 * torch.eye(2)])
    >>> [float(product[0, 0]) for product in products]  # from the input, from layer 1, from the output
    [6.0, 3.0, 1.0]
    """
    jacobians = list(jacobians)
    if not all(isinstance(jacobian, Tensor) for jacobian in jacobians):
        kinds = ", ".join(type(jacobian).__name__ for jacobian in jacobians)
        raise TypeError(f"Jacobians of type {kinds}\nexpected tensors, as layer_jacobians returns them")
    if not jacobians or any(jacobian.dim() < 2 for jacobian in jacobians):
        shapes = ", ".join(str(tuple(jacobian.shape)) for jacobian in jacobians) or "none"
        raise ValueError(f"Jacobians of shape {shapes}\nexpected one (..., out, in) or more")
    last = jacobians[-1]
    product = torch.eye(last.shape[-2], dtype=last.dtype, device=last.device).expand(*last.shape[:-2], -1, -1)
    products = [product]
    for jacobian in reversed(jacobians):
        if product.shape[-1] != jacobian.shape[-2]:
            raise ValueError(
                f"a Jacobian of shape {tuple(jacobian.shape)} before one that takes {product.shape[-1]} inputs\n"
                "expected the first layer's Jacobian first, each with as many rows as the next has columns"
            )
        products.append(product := product @ jacobian)
    return products[::-1]


@checked
def singular_values(matrix: Tensor) -> Tensor:
    """The singular values of (..., out, in) matrices, (..., min(out, in)), largest first, in float64.

    Those below rounding, ε · max(out, in) · the largest with the ε of the matrix, cannot be told from 0 and come
    back as NaN, and so do all those of a matrix that is not finite; those of a matrix of zeros are 0.
    matrix: one or many. Raises ValueError for a tensor that is not floating or has fewer than two dimensions, TypeError
    for anything else.

    >>> singular_values(torch.ones(2, 2)).round(decimals=4)  # the second is 0, or what rounding makes of it
    tensor([2., nan], dtype=torch.float64)
    """
    if not isinstance(matrix, Tensor):
        raise TypeError(f"matrix of type {type(matrix).__name__}\nexpected a floating tensor (..., out, in)")
    if matrix.dim() < 2 or not matrix.is_floating_point():
        raise ValueError(f"matrix of shape {tuple(matrix.shape)}, {matrix.dtype}\nexpected (..., out, in), floating")
    finite = matrix.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    values = torch.linalg.svdvals(matrix.double().where(finite, 0.0))  # it refuses inf and NaN
    noise = torch.finfo(matrix.dtype).eps * max(matrix.shape[-2:]) * values[..., :1]
    return values.masked_fill((values < noise) | ~finite[..., 0], torch.nan)


@checked
def isometry(model: nn.Module, inputs: Tensor) -> Spectrum:
    """The singular values of the model's input-output Jacobian for each example, as `singular_values` gives them.

    inputs: (batch, ...), or (features,) for one example. At dynamical isometry all of them are 1.
    Raises what `input_jacobian` raises. Source: Saxe et al. 2014, arXiv:1312.6120; Pennington et al. 2017,
    arXiv:1711.04735.

    >>> from d2lstab import mlp, orthogonal_
    >>> rotations = mlp([32] * 20, nn.Identity(), initializer=orthogonal_)
    >>> round(float(isometry(rotations, torch.ones(32)).mean_square), 3)
    1.0
    >>> rectified = mlp([32] * 20, torch.relu, initializer=orthogonal_)
    >>> ax = isometry(rectified, torch.ones(32)).plot()
    """
    return Spectrum(singular_values(input_jacobian(model, inputs)))


@contextmanager
def _borrowed(layer: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """The layer as a function of its input alone; afterwards it is as it was."""
    # Not a deep copy: that fails for a layer that keeps a tensor of its last forward pass.
    attributes = [(module, vars(module).copy()) for module in layer.modules()]
    state = {name: tensor.detach().clone() for name, tensor in (*layer.named_parameters(), *layer.named_buffers())}
    try:
        for module, _ in attributes:
            vars(module).update(_backward_hooks=OrderedDict(), _backward_pre_hooks=OrderedDict())
        yield lambda h: functional_call(layer, state, (h,))
    finally:
        for module, before in attributes:
            vars(module).clear()
            vars(module).update(before)


def _step(function: Callable[[Tensor], Tensor], h: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """What a layer makes of the batch h, and the Jacobian of each example, (batch, out, in)."""
    leaf = h.requires_grad_()
    try:
        out = function(leaf.clone())  # a copy: an in-place layer may not change a leaf
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{name} got an input of shape {tuple(h.shape)}, {h.dtype}\nexpected one that fits it: {error}"
        ) from error
    if not isinstance(out, Tensor) or not out.is_floating_point():
        kind = str(out.dtype) if isinstance(out, Tensor) else type(out).__name__
        raise TypeError(f"{name} returned {kind}\nexpected a floating tensor")
    examples = len(h)
    if out.dim() == 0 or len(out) != examples:
        raise ValueError(f"{name} made shape {tuple(out.shape)} of {tuple(h.shape)}\nexpected ({examples}, ...)")
    if not out.requires_grad:  # it does not depend on its input
        unknown = out.isnan().reshape(examples, -1).any(1)
        zeros = out.new_zeros(examples, out[0].numel(), leaf[0].numel())
        return out, zeros.masked_fill(unknown[:, None, None], torch.nan)

    # One backward pass per output entry, for all examples at once: right as long as no example acts on another.
    weights = torch.linspace(1, 2, out[0].numel(), dtype=out.dtype, device=out.device)
    (of_the_first,) = torch.autograd.grad(out[0].flatten() @ weights, leaf, retain_graph=True, materialize_grads=True)
    if (of_the_first[1:].abs() > 0).any():
        raise ValueError(
            f"{name} lets the examples of a batch act on one another\nexpected each to be treated alone: batch"
            " normalization does so in eval mode, network.eval()"
        )
    rows = torch.eye(len(weights), dtype=out.dtype, device=out.device).reshape(-1, 1, *out.shape[1:])
    rows = rows.expand(-1, examples, *out.shape[1:])
    (jacobian,) = torch.autograd.grad(out, leaf, rows, is_grads_batched=True, materialize_grads=True)
    unknown = out.detach().isnan().reshape(examples, -1).any(1)  # a kink's slope is a number at NaN as well
    return out.detach(), jacobian.flatten(2).movedim(0, 1).masked_fill(unknown[:, None, None], torch.nan)
