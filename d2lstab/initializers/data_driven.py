"""Weights whose scale is measured on data instead of derived."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from ..arguments import whole_numbers
from ..randomness import seeded, streams_kept
from ..signatures import checked
from .filling import LayerWithWeight, Model, draw_for, layers_with_weights
from .orthogonal import orthogonal_


@checked
@torch.no_grad()
def lsuv_(model: Model, inputs: Tensor, *, tolerance: float = 0.01, max_rounds: int = 10, seed: int = 0) -> Model:
    """The model, each Linear and convolution weight orthonormal, then scaled until its layer's outputs have size 1.

    The size is the second moment over the batch `inputs` and all units, which must come within `tolerance` of 1;
    the paper takes the variance, which is less by the square of the mean. Layers are scaled in the order of
    execution, in a single forward pass, each `max_rounds` times at most: once, unless a bias has a say. A layer or
    weight used several times is scaled where it is first used, one that is never called stays as it was.

    Only weights change. The model runs in the mode it is in; biases, buffers, modes, hooks and random streams
    are afterwards as before, and if anything is raised so are the weights.
    Raises ValueError without data, for inputs that do not fit, for a model without such layers, or without one
    that is called; for a dead layer, whose outputs are all 0, or its bias, or not all finite; and if a size does not come to 1.
    Source: Mishkin and Matas 2016, arXiv:1511.06422, algorithm 1.

    >>> network = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
    >>> batch = torch.randn(100, 64)
    >>> outputs = lsuv_(network, batch)(batch).detach()
    >>> round(float(outputs.square().mean()), 1)
    1.0
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance}\nexpected a positive number")
    (max_rounds,) = whole_numbers(max_rounds=max_rounds)
    whole_numbers(seed=seed, at_least=0)
    if not isinstance(inputs, Tensor) or inputs.numel() == 0:
        given = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"type {type(inputs).__name__}"
        raise ValueError(f"inputs of {given}\nexpected a batch of data for the model, one tensor")
    layers = layers_with_weights(model)
    generator, scaled = seeded(seed), set()

    def scale(name: str):
        def hook(layer: LayerWithWeight, arguments: tuple, keywords: dict, output: Tensor) -> Tensor | None:
            if id(layer.weight) in scaled:
                return None
            scaled.add(id(layer.weight))
            return _scale_(layer, lambda: layer.forward(*arguments, **keywords), name, generator, tolerance, max_rounds)

        return hook

    with _only_weights_change(model, layers.values()):
        # Before the user's own hooks, so that those see what the layer returns in the end.
        handles = [
            layer.register_forward_hook(scale(name), prepend=True, with_kwargs=True) for name, layer in layers.items()
        ]
        try:
            model(inputs)
        except _CannotScale as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise ValueError(
                f"inputs of shape {tuple(inputs.shape)}, {inputs.dtype}\nexpected ones that fit the model: {error}"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        if not scaled:
            raise ValueError(f"{type(model).__name__} calls none of its layers with weights\nexpected one at least")
    return model


class _CannotScale(Exception):
    """Tells our own errors from those of a model that does not like its inputs."""


def _scale_(
    layer: LayerWithWeight, forward, name: str, generator: Generator, tolerance: float, max_rounds: int
) -> Tensor:
    """The output of the layer with its new weight."""
    layer.weight.copy_(draw_for(layer, orthogonal_, generator))
    size = torch.nan
    for rounds_left in range(max_rounds, -1, -1):
        output = forward()
        before, size = size, float(output.double().square().mean())
        if abs(size - 1) <= tolerance:
            return output
        if not 0 < size < torch.inf or size == before:  # only a bias is left: the weight has no say
            what = "is not finite" if not size < torch.inf else "is 0" if size == 0 else "is its bias"
            raise _CannotScale(
                f"layer {name!r} is dead: its output {what} for every input\nexpected inputs and layers before it that let a signal through"
            )
        if rounds_left:
            layer.weight.mul_(size**-0.5)
    raise _CannotScale(
        f"layer {name!r} has outputs of second moment {size:.3g} after {max_rounds} rounds\n"
        f"expected 1 ± {tolerance}: a smaller bias, more rounds or a larger tolerance"
    )


@contextmanager
def _only_weights_change(model: nn.Module, layers) -> Iterator[None]:
    """Whatever happens, buffers and random streams are as before; if anything is raised, weights are too."""
    weights = [(layer.weight, layer.weight.detach().clone()) for layer in layers]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        with streams_kept({weight.device for weight, _ in weights}):
            yield
    except BaseException:
        for weight, before in weights:
            weight.copy_(before)
        raise
    finally:
        for module, name, buffer, before in buffers:
            module._buffers[name] = buffer.copy_(before)
