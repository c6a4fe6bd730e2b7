"""Layers of Keras 3 on torch: modules too, which keep their layers in lists and their kernels as (in, out)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_CONVOLUTIONS = {"Conv1D": nn.Conv1d, "Conv2D": nn.Conv2d, "Conv3D": nn.Conv3d}


def of_keras(module: nn.Module) -> bool:
    """Whether a module is a layer or a model of Keras, told without importing it."""
    return any(each.__module__ == "keras.src.layers.layer" for each in type(module).__mro__)


def layers_in(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers that a layer of Keras holds, by their names; those of other modules are registered."""
    if not of_keras(module):
        return []
    held = [each for each in vars(module).get("_layers", ()) if isinstance(each, nn.Module)]
    return [(str(getattr(each, "name", place)), each) for place, each in enumerate(held)]


def as_torch(module: nn.Module) -> nn.Module:
    """The layer of torch that computes the same with the same numbers, in shared memory; a module without one itself.

    An activation inside is left out: it is a call of its own.
    """
    kind = type(module).__name__
    if not of_keras(module) or not (kind in _CONVOLUTIONS or kind in _OTHERS):
        return module
    made = _convolution(module) if kind in _CONVOLUTIONS else _OTHERS[kind](module)
    return module if made is None else made


def inner_activation(module: nn.Module) -> Callable[..., Any] | None:
    """The activation that a layer with a kernel calls at its end; None without one."""
    if not of_keras(module) or type(module).__name__ not in ("Dense", *_CONVOLUTIONS):
        return None
    found = getattr(module, "activation", None)
    return None if getattr(found, "__name__", "") == "linear" else found


def stateless(model: nn.Module, numbers: dict[str, Tensor], arguments: tuple, keywords: dict) -> Any:
    """The outputs of a model of Keras with these numbers, by the names of parameters, in place of its own."""
    keras: Any = model
    by_id = {id(each): numbers.get(name) for name, each in model.named_parameters()}
    trained, other = (
        [each.value if by_id.get(id(each.value)) is None else by_id[id(each.value)] for each in variables]
        for variables in (keras.trainable_variables, keras.non_trainable_variables)
    )
    return keras.stateless_call(trained, other, *arguments, **keywords)[0]


def _value(variable: Any) -> nn.Parameter | None:
    value = getattr(variable, "value", None)
    return value if isinstance(value, nn.Parameter) else None


def _with(layer: nn.Module, **numbers: Tensor | None) -> nn.Module:
    """A layer made without memory, which takes these tensors as its parameters."""
    for name, value in numbers.items():
        layer._parameters[name] = None if value is None else nn.Parameter(value, requires_grad=value.requires_grad)
    return layer


def _dense(module: Any) -> nn.Module | None:
    kernel, bias = _value(module.kernel), _value(module.bias)
    if kernel is None or kernel.dim() != 2:
        return None
    linear = nn.Linear(*kernel.shape, bias=bias is not None, device="meta")
    return _with(linear, weight=_turned(kernel, (1, 0)), bias=bias)


def _convolution(module: Any) -> nn.Module | None:
    kernel, bias = _value(module.kernel), _value(module.bias)
    if kernel is None:
        return None
    *sizes, into, out = kernel.shape
    settings = {"stride": tuple(module.strides), "groups": module.groups, "bias": bias is not None, "device": "meta"}
    conv = _CONVOLUTIONS[type(module).__name__](into * module.groups, out, tuple(sizes), **settings)
    return _with(conv, weight=_turned(kernel, (-1, -2, *range(len(sizes)))), bias=bias)


def _turned(kernel: Tensor, order: tuple[int, ...]) -> Tensor:
    return kernel.detach().permute(order).requires_grad_(kernel.requires_grad)


def _normalization(module: Any) -> nn.Module | None:
    gamma, beta = _value(module.gamma), _value(module.beta)
    if gamma is None or gamma.dim() != 1:
        return None
    kind = nn.BatchNorm1d if type(module).__name__ == "BatchNormalization" else nn.LayerNorm
    return _with(kind(len(gamma), device="meta"), weight=gamma, bias=torch.zeros_like(gamma) if beta is None else beta)


_OTHERS: dict[str, Callable[[Any], nn.Module | None]] = {
    "Dense": _dense,
    "BatchNormalization": _normalization,
    "LayerNormalization": _normalization,
}
