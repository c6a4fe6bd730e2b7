"""Remedies applied: each takes a private copy of the model and a seed, changes it, and returns it or a wrapper."""

from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ..initializers import fans, he_normal_, initialize_
from ..randomness import seeded
from ..recording.functional import BENDING, RECTIFIERS
from ..recording.keras import as_torch
from ..recording.modules import named_modules
from .expectation import critical_gain

Repair = Callable[[nn.Module, int], nn.Module]
_ACTIVATIONS = (*BENDING, *RECTIFIERS)
_WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class OfFeatures(nn.Module):
    """A batch normalization of the last axis, over samples and, in sequences, positions."""

    def __init__(self, width: int, **kind: Any):
        super().__init__()
        self.norm = nn.BatchNorm1d(width, **kind)

    def forward(self, h: Tensor) -> Tensor:
        return self.norm(h.flatten(0, -2)).view(h.shape)


_NORMALIZATIONS = {
    nn.Linear: OfFeatures,
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}


def reinitialized(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every Linear, convolution and recurrent layer drawn afresh at the critical scale of the activation, biases 0.

    What is not trained keeps its values: those of a frozen network were learnt.
    """
    frozen = [(each, each.detach().clone()) for each in model.parameters() if not each.requires_grad]
    gain = critical_gain(model)

    def draw(weight: Tensor, *, generator: Generator | None) -> Tensor:
        return he_normal_(weight, gain=gain, generator=generator)

    layers = [as_torch(module) for _, module in named_modules(model)]  # of Keras, with the same memory
    layers = [layer for layer in layers if isinstance(layer, _WITH_WEIGHTS)]
    if layers:
        initialize_(nn.ModuleList(layers), draw, seed=seed)
    generator = seeded(seed)
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            for name, parameter in module.named_parameters():
                _draw_recurrent(name, parameter, generator)
                if name.startswith("weight_hh") and getattr(module, "nonlinearity", "") == "relu":
                    nn.init.eye_(parameter)  # through rectifiers rotations shrink; Le et al. 2015, arXiv:1504.00941
    with torch.no_grad():
        for parameter, value in frozen:
            parameter.copy_(value)
    return model


@torch.no_grad()
def _draw_recurrent(name: str, parameter: Tensor, generator: Generator) -> None:
    drawn = torch.zeros(parameter.shape, device="cpu")
    if name.startswith("weight"):
        draw = nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_
        for gate in drawn.split(parameter.shape[0] // max(1, parameter.shape[0] // parameter.shape[1])):
            draw(gate, generator=generator)
    parameter.copy_(drawn)


def normalized(model: nn.Module, seed: int = 0) -> nn.Module:
    """`reinitialized`, with a batch normalization between each layer and the activation that follows it in a Sequential."""
    reinitialized(model, seed)
    for module in [each for each in model.modules() if isinstance(each, nn.Sequential)]:
        for (name, layer), (_, after) in list(pairwise(module.named_children())):
            kind = _NORMALIZATIONS.get(type(layer))
            if kind is not None and isinstance(after, _ACTIVATIONS):
                width = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
                norm = kind(width, device=layer.weight.device, dtype=layer.weight.dtype)
                setattr(module, name, nn.Sequential(layer, norm))
    return model


def revived(name: str) -> Repair:
    """`reinitialized`, or without the rectifier of this name if it is the model's last layer."""

    def repair(model: nn.Module, seed: int = 0) -> nn.Module:
        last = list(model.named_modules())[-1][0]
        return model[:-1] if name == last and isinstance(model, nn.Sequential) else reinitialized(model, seed)

    return repair


class _Scaled(nn.Module):
    """A model beside a mean and a standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor):
        super().__init__()
        self.model = model
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)


class Standardized(_Scaled):
    """A model whose inputs are shifted and divided, so that they have zero mean and unit size."""

    def forward(self, inputs: Tensor, *arguments: Any, **keywords: Any) -> Any:
        return self.model((inputs - self.mean) / self.std, *arguments, **keywords)


class Answering(_Scaled):
    """A model whose outputs are multiplied and shifted to the scale of its targets."""

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.model(*arguments, **keywords) * self.std + self.mean


def standardized(inputs: Tensor) -> Repair:
    """The wrapper that standardizes each feature as in this batch."""
    mean, std = _mean_and_std(inputs)
    return lambda model, seed=0: Standardized(model, mean, std)


def answering(targets: Tensor) -> Repair:
    """The wrapper that answers on the scale of these targets; a bounded activation at the end is dropped."""
    mean, std = _mean_and_std(targets)

    def repair(model: nn.Module, seed: int = 0) -> nn.Module:
        if isinstance(model, nn.Sequential) and isinstance(model[-1], _ACTIVATIONS):
            model = model[:-1]
        return Answering(model, mean, std)

    return repair


def without(name: str) -> Repair:
    """The identity in place of the layer of this name; a Sequential whose last one it is becomes shorter."""

    def repair(model: nn.Module, seed: int = 0) -> nn.Module:
        if not name:
            return nn.Identity()
        parent, _, last = name.rpartition(".")
        if isinstance(model, nn.Sequential) and not parent and model[-1] is model.get_submodule(name):
            return model[:-1]
        setattr(model.get_submodule(parent), last, nn.Identity())
        return model

    return repair


def _mean_and_std(batch: Tensor) -> tuple[Tensor, Tensor]:
    batch = batch.detach()
    std = batch.std(0) if len(batch) > 1 else torch.ones_like(batch[0])
    largest = float(std.max()) or 1.0
    std = std.masked_fill(std == 0, largest)  # what does not vary in this batch may in another
    return batch.mean(0), std.clamp(min=1e-3 * largest)


def output_rescaled(size: float) -> Repair:
    """The last layer with weights divided by the size of its outputs."""

    @torch.no_grad()
    def repair(model: nn.Module, seed: int = 0) -> nn.Module:
        last = [each for each in model.modules() if isinstance(each, _WITH_WEIGHTS)][-1]
        last.weight.div_(size)
        if last.bias is not None:
            last.bias.div_(size)
        return model

    return repair


def group_normalized(model: nn.Module, seed: int = 0) -> nn.Module:
    """Each batch normalization replaced by a group normalization with its scale and shift."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                # Several channels to a group: with one, each channel of a sample loses its mean, as in a batch of one.
                groups = next(each for each in (8, 4, 2, 1) if child.num_features % (4 * each) == 0 or each == 1)
                group = nn.GroupNorm(groups, child.num_features, child.eps, child.affine)
                if child.affine:
                    group.weight, group.bias = child.weight, child.bias
                setattr(module, name, group)
    return model


@torch.no_grad()
def without_checkerboard(model: nn.Module, seed: int = 0) -> nn.Module:
    """Each convolution before a pixel shuffle with one filter per channel, repeated for every sub-pixel."""
    for conv, shuffle in pairwise(list(model.modules())):
        if isinstance(shuffle, nn.PixelShuffle) and isinstance(conv, nn.Conv2d):
            phases = shuffle.upscale_factor**2
            filters = conv.weight[::phases] * (sqrt(2 / fans(conv).fan_in) / conv.weight.std())
            conv.weight.copy_(filters.repeat_interleave(phases, 0))
            if conv.bias is not None:
                conv.bias.zero_()
    return model
