"""Whether modules are the same but for the numbers in them."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

# What a module keeps apart from its settings: compared by kind, not by value.
_NUMBERS = ("_parameters", "_buffers")
_CONTAINERS = (dict, OrderedDict, list, tuple)


def alike(modules: Sequence[nn.Module]) -> bool:
    """Whether modules differ in nothing but the values of their parameters and buffers.

    Types, settings, functions, hooks, ties, shapes, dtypes and requires_grad are compared; what cannot be shown to be
    equal is taken to differ.
    """
    first, ties = modules[0], _ties(modules[0])
    return all(same(first, module) and ties == _ties(module) for module in modules[1:])


def same(a: Any, b: Any) -> bool:
    """Whether two settings are shown to be the same: by value, or by what they hold."""
    return _same(a, b, {})


def _ties(module: nn.Module) -> list[list[str]]:
    """The names of each parameter and buffer."""
    names: dict[int, list[str]] = {}
    for kind in ("named_parameters", "named_buffers"):
        for name, tensor in getattr(module, kind)(remove_duplicate=False):
            names.setdefault(id(tensor), []).append(name)
    return list(names.values())


def _same(a: Any, b: Any, met: dict[int, int]) -> bool:
    """Whether two values act alike. met: what was compared on the way here, so that a circle ends."""
    if a is b:
        return not isinstance(a, torch.Generator)  # a stream of random numbers that two networks would share
    if type(a) is type(b) and type(a) in _CONTAINERS and not a and not b:  # as most dictionaries of hooks are
        return True
    if id(a) in met:
        return met[id(a)] == id(b)
    met = met | {id(a): id(b)}
    if isinstance(a, nn.Module) and isinstance(b, nn.Module):
        return _same_module(a, b, met)
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and bool(torch.equal(a, b))
    if isinstance(a, FunctionType):
        if a.__code__ != b.__code__ or a.__globals__ is not b.__globals__:
            return False
        one, other = ([f.__defaults__, f.__kwdefaults__, vars(f), _captured(f)] for f in (a, b))
        return _same(one, other, met)
    if isinstance(a, partial):
        return all(_same(getattr(a, part), getattr(b, part), met) for part in ("func", "args", "keywords"))
    if isinstance(a, (MethodType, BuiltinFunctionType)):
        same_name = a.__name__ == b.__name__ and getattr(a, "__func__", None) == getattr(b, "__func__", None)
        return same_name and _same(a.__self__, b.__self__, met)
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(_same(a[key], b[key], met) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y, met) for x, y in zip(a, b))
    if isinstance(a, (int, float, complex, str, bytes, AbstractSet, range, torch.dtype, torch.device)):
        return bool(a == b)
    return _same_object(a, b, met)


def _same_module(a: nn.Module, b: nn.Module, met: dict[int, int]) -> bool:
    if type(a) is not type(b):  # torch makes a class for each parametrized module
        kinds = [type_before_parametrizations(module) for module in (a, b) if is_parametrized(module)]
        if len(kinds) < 2 or kinds[0] is not kinds[1]:
            return False
    for kind in _NUMBERS:
        one, other = (getattr(module, kind) for module in (a, b))
        if list(one) != list(other) or not all(_same_kind(one[name], other[name]) for name in one):
            return False
    one, other = ({key: value for key, value in vars(module).items() if key not in _NUMBERS} for module in (a, b))
    return _same(one, other, met)


def _same_kind(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two parameters differ in their values alone; one with hooks is like no other."""
    if a is None or b is None:
        return a is b
    if a._backward_hooks or b._backward_hooks or a._post_accumulate_grad_hooks or b._post_accumulate_grad_hooks:
        return False
    parts = [(type(t), t.shape, t.dtype, t.layout, t.device, t.requires_grad) for t in (a, b)]
    return parts[0] == parts[1]


def _captured(function: FunctionType) -> list[Any]:
    """What a function took from the functions around it; the empty cell of one not yet defined is like no other."""
    try:
        return [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        return [object()]


def _same_object(a: Any, b: Any, met: dict[int, int]) -> bool:
    """Objects of somebody's own class, by what they hold; those that show nothing are not the same."""
    one, other = (getattr(value, "__dict__", None) for value in (a, b))
    return bool(one) and _same(one, other, met)
