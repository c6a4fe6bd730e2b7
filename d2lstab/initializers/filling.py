"""Initializers applied: to a shape, and to the layers of a model."""

from collections.abc import Iterator
from itertools import product
from typing import Protocol, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ..arguments import whole_numbers
from ..randomness import seeded
from ..signatures import checked
from .fans import CONVOLUTIONS, TRANSPOSED, Convolution

LayerWithWeight = nn.Linear | Convolution
Model = TypeVar("Model", bound=nn.Module)


class Initializer(Protocol):
    """A function that fills a weight in place and returns it, as those of torch.nn.init do: initializer(weight, generator=…).

    >>> def signs_(weight, *, generator=None):
    ...     return weight.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
    >>> initialize_(nn.Linear(3, 2), signs_).weight.detach().abs()
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """

    def __call__(self, weight: Tensor, /, *, generator: Generator | None) -> Tensor: ...


def draw_weight(initializer: Initializer, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """A new float32 CPU weight of this shape, filled by the initializer.

    One dtype and one device for the draw, so that a seed means the same weights in every dtype and place.
    Raises TypeError if the initializer does not return a tensor, ValueError if its shape is another.
    """
    return filled_by(initializer, torch.empty(shape, dtype=torch.float32, device="cpu"), generator)


def filled_by(initializer: Initializer, weight: Tensor, generator: Generator | None) -> Tensor:
    """What the initializer makes of a weight, checked. Raises what `draw_weight` raises."""
    if not callable(initializer):
        raise TypeError(f"initializer={initializer!r}\nexpected a function of a weight, such as he_normal_")
    name = getattr(initializer, "__name__", repr(initializer))
    try:
        filled = initializer(weight, generator=generator)
    except TypeError as error:
        if "generator" not in str(error):
            raise
        raise TypeError(
            f"initializer {name} takes no generator: {error}\n"
            f"expected one that does, or lambda weight, generator: {name}(weight)"
        ) from error
    if not isinstance(filled, Tensor):
        raise TypeError(
            f"initializer {name} returned {type(filled).__name__}\nexpected the weight it was given, filled"
        )
    if filled.shape != weight.shape:
        raise ValueError(
            f"initializer {name} returned shape {tuple(filled.shape)} for a weight of shape {tuple(weight.shape)}\n"
            "expected the same shape"
        )
    return filled.detach()


@checked
@torch.no_grad()
def initialize_(model: Model, initializer: Initializer, *, seed: int = 0) -> Model:
    """The model, each Linear and convolution weight filled by the initializer and its bias set to 0.

    Other parameters are left alone. The initializer sees each group of a convolution by itself, and each phase of
    a transposed convolution's stride, which is an ordinary convolution: so its fans are the true ones, save for
    the fan-out of a stride. Every weight is drawn, in order, from one CPU generator before any is written: if the
    initializer fails, the model is as it was.
    Raises ValueError if the model has no such weight or one that is not its own, and what `draw_weight` raises.

    >>> from d2lstab import he_normal_
    >>> network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    >>> network = initialize_(network, he_normal_)
    >>> round(float(network[0].weight.detach().std()), 2)  # √(2 / 64)
    0.18
    """
    whole_numbers(seed=seed, at_least=0)
    layers, generator = layers_with_weights(model).values(), seeded(seed)
    drawn = [draw_for(layer, initializer, generator) for layer in layers]
    for layer, weight in zip(layers, drawn):
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.zero_()
    return model


def layers_with_weights(model: nn.Module) -> dict[str, LayerWithWeight]:
    """The Linear and convolution layers of a model by name.

    Raises ValueError if there is none, or if the weight of one is not a parameter with a shape yet.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model of type {type(model).__name__}\n"
            "expected a module; an initializer itself fills a single weight: he_normal_(weight)"
        )
    layers: dict[str, LayerWithWeight] = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED))
    }
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no Linear or convolution weight\n"
            "expected at least one; recurrent modules are for initialize_recurrent_"
        )
    for name, layer in layers.items():
        weight = layer._parameters.get("weight")
        if weight is None or isinstance(weight, UninitializedParameter):
            raise ValueError(
                f"{type(layer).__name__} {name!r} has a weight that is parametrized or not made yet\n"
                "expected a parameter: initialize before parametrizing, and run a lazy module once"
            )
    return layers


def draw_for(layer: LayerWithWeight, initializer: Initializer, generator: Generator) -> Tensor:
    """A new float32 CPU weight for this layer, drawn part by part. Raises what `draw_weight` raises."""
    weight = torch.zeros(layer.weight.shape, dtype=torch.float32, device="cpu")
    for part in _ordinary_parts(layer, weight):
        part.copy_(draw_weight(initializer, tuple(part.shape), generator))
    return weight


def _ordinary_parts(layer: LayerWithWeight, weight: Tensor) -> Iterator[Tensor]:
    """Views of the weight, each that of a dense layer or an ungrouped convolution, (fan_out, fan_in, *kernel)."""
    for group in weight.chunk(getattr(layer, "groups", 1)):
        if not isinstance(layer, TRANSPOSED):
            yield group
            continue
        # Outputs a stride apart meet the same taps; those in between meet others.
        for phase in product(*map(range, layer.stride)):
            taps = [slice(start, None, stride) for start, stride in zip(phase, layer.stride)]
            part = group.transpose(0, 1)[(slice(None), slice(None), *taps)]
            if part.numel():
                yield part
