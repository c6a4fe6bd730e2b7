"""Tensors in whatever holds them: read, and exchanged for others."""

from collections import OrderedDict, UserDict, deque
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

_ROWS = (list, tuple, deque, set, frozenset)
# Packages whose objects work on their own and hold no batch.
_MACHINERY = {
    "builtins",
    "functools",
    "io",
    "logging",
    "multiprocessing",
    "numpy",
    "random",
    "threading",
    "types",
    "weakref",
}


def tensors_in(thing: Any, _inside: tuple[int, ...] = ()) -> list[Tensor]:
    """The tensors of a tensor, sequence, mapping, dataclass or plain object, in order, however deep."""
    if isinstance(thing, Tensor):
        return [thing]
    if id(thing) in _inside:  # what leads back to itself
        return []
    return [tensor for value in values_in(thing) for tensor in tensors_in(value, (*_inside, id(thing)))]


def each_tensor(f: Callable[[Tensor], Tensor], thing: Any) -> Any:
    """The same with f of each tensor in its place; of what holds none, itself. What is given stays as it is."""
    if isinstance(thing, Tensor):
        return f(thing)
    if not tensors_in(thing):
        return thing
    made = [each_tensor(f, value) for value in values_in(thing)]
    if isinstance(thing, deque):
        return type(thing)(made, thing.maxlen)
    if isinstance(thing, _ROWS):
        return type(thing)(*made) if hasattr(thing, "_fields") else type(thing)(made)
    other = _shell(thing)
    for name, value in zip(_names(thing), made):
        _put(other, name, value)
    return other


def values_in(thing: Any) -> list[Any]:
    """What a container or plain object holds, in order; nothing of anything else."""
    if isinstance(thing, _ROWS):
        return list(thing)
    if isinstance(thing, Mapping):
        return [thing[name] for name in thing]
    if is_dataclass(thing) and not isinstance(thing, type):
        return [getattr(thing, each.name, None) for each in fields(thing)]
    return list(vars(thing).values()) if is_plain(thing) else []


def is_plain(thing: Any) -> bool:
    """Whether it is an object that only holds attributes: no module, class, function, nor part of Python's machinery."""
    if type(thing).__module__.partition(".")[0] in _MACHINERY:
        return False
    return hasattr(thing, "__dict__") and not isinstance(thing, (nn.Module, type, Tensor)) and not callable(thing)


def _shell(thing: Any) -> Any:
    """A copy whose entries can be exchanged without those of the original."""
    try:
        other = copy(thing)
    except Exception:  # noqa: BLE001  of a mapping that refuses changes: its attributes, and no entries yet
        kind: Any = type(thing)
        other = kind.__new__(kind)
        vars(other).update(vars(thing))
        for name in thing:
            _put(other, name, thing[name])
    if isinstance(thing, UserDict):
        other.data = dict(thing.data)
    return other


def _names(thing: Any) -> list[Any]:
    if isinstance(thing, Mapping):
        return list(thing)
    return [each.name for each in fields(thing)] if is_dataclass(thing) else list(vars(thing))


def _put(thing: Any, name: Any, value: Any) -> None:
    """Sets an entry, also of a mapping that refuses changes, of one that has attributes too, of a frozen dataclass."""
    if isinstance(thing, UserDict):
        thing.data[name] = value
    elif isinstance(thing, OrderedDict):
        OrderedDict.__setitem__(thing, name, value)
    elif isinstance(thing, dict):
        dict.__setitem__(thing, name, value)
    elif isinstance(thing, Mapping):
        thing[name] = value  # pyright: ignore[reportIndexIssue]
    if not isinstance(thing, Mapping) or name in getattr(thing, "__dict__", ()):
        object.__setattr__(thing, name, value)
