"""Somebody's model, borrowed: used with copies of its numbers, and given back exactly as it was."""

import random
import sys
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .containers import each_tensor, is_plain, values_in
from .randomness import seed_streams, streams_kept
from .recording.modules import named_modules, wrapped

_CONTAINERS = (dict, list, set, deque, tuple)
_MOST_LOOKED_INTO = 10_000  # entries: a list of so many is data, and its entries are not looked into
_DEEPEST = 4  # a setting in settings of settings; beyond, a module's attributes lead out of the model


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside the wrappers of torch.compile, DataParallel and DistributedDataParallel."""
    while (inner := wrapped(model)) is not None:
        model = inner
    return model


@contextmanager
def borrowed(*modules: nn.Module) -> Iterator[None]:
    """A context in which parameters, buffers and tensor attributes of the modules are private copies of the same values.

    Whatever happens inside, the modules have afterwards every attribute that they had, the very objects with the
    values they had, and no others; random streams go on where they were.
    """
    everything = list({id(module): module for each in modules for module in (*each.modules(), *_held(each))}.values())
    before = [
        (module, dict(module.__dict__), [(each, _entries(each)) for each in _holders(module)]) for module in everything
    ]
    generators = [
        (each, each.get_state()) for _, attributes, holders in before for each in _generators(attributes, holders)
    ]
    with random_streams(everything):
        try:
            copies: dict[int, Tensor] = {}
            for module, _, holders in before:
                _exchange(module, holders, copies)
            yield
        finally:
            for module, attributes, holders in before:
                _give_back(module, attributes, holders)
            for generator, state in generators:
                generator.set_state(state)


def _held(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that it holds without having registered them, as those of Keras do."""
    return (module for _, module in named_modules(model))


def reseed(model: nn.Module, seed: int = 0) -> None:
    """Starts the streams that a borrowed model may draw from anew: each pass finds the same random numbers."""
    seed_streams(seed, {each.device for each in (*model.parameters(), *model.buffers())})


def _generators(attributes: dict, holders: list[tuple[Any, Any]]) -> list[torch.Generator]:
    """The streams of its own that a module draws from."""
    contents = [entries.values() if isinstance(entries, dict) else entries for _, entries in holders]
    return [each for values in (attributes.values(), *contents) for each in values if isinstance(each, torch.Generator)]


def _holders(module: nn.Module) -> list[Any]:
    """The containers and plain objects among a module's attributes, and those in them: caches, counters, settings."""
    found: dict[int, Any] = {}
    waiting = [(value, 0) for value in module.__dict__.values()]
    while waiting:
        thing, depth = waiting.pop()
        if id(thing) in found or depth > _DEEPEST or not (isinstance(thing, _CONTAINERS) or is_plain(thing)):
            continue
        if isinstance(thing, torch.optim.Optimizer):
            continue
        found[id(thing)] = thing
        values = values_in(thing)
        waiting += [(value, depth + 1) for value in values] if len(values) <= _MOST_LOOKED_INTO else []
    return list(found.values())


def _entries(holder: Any) -> Any:
    """What is in a holder, as a list, or a dictionary that keeps the order."""
    if isinstance(holder, dict):
        return dict(dict.items(holder))
    return list(holder) if isinstance(holder, _CONTAINERS) else dict(vars(holder))


def _fill(holder: Any, entries: Any) -> None:
    """Puts entries in place of those that are there, whatever the holder's class thinks of changes."""
    if isinstance(holder, dict):
        kind: Any = OrderedDict if isinstance(holder, OrderedDict) else dict  # whose methods the holder cannot refuse
        kind.clear(holder)
        for key, value in entries.items():
            kind.__setitem__(holder, key, value)
    elif isinstance(holder, list):
        holder[:] = entries
    elif isinstance(holder, deque):
        holder.clear()
        holder.extend(entries)
    elif isinstance(holder, set):
        holder.clear()
        holder.update(entries)
    elif isinstance(holder, _CONTAINERS):
        return  # what cannot be changed
    else:
        holder.__dict__.clear()
        holder.__dict__.update(entries)


def _exchange(module: nn.Module, holders: list[tuple[Any, Any]], copies: dict[int, Tensor]) -> None:
    """Puts private copies in the place of a module's tensors, in its containers too."""
    for holder, entries in holders:
        values = list(entries.values()) if isinstance(entries, dict) else entries
        if not any(isinstance(value, (Tensor, tuple)) for value in values):
            continue
        if isinstance(entries, dict):
            _fill(holder, {key: _copy(value, copies) for key, value in entries.items()})
        else:
            _fill(holder, [_copy(value, copies) for value in entries])
    module.__dict__.update({name: _copy(value, copies) for name, value in module.__dict__.items()})


def _copy(value, copies: dict[int, Tensor]):
    """A private tensor of the same values, one for each tensor however often it is used; anything else as it is."""
    if isinstance(value, tuple):  # cannot be changed where it is
        return each_tensor(lambda each: _copy(each, copies), value)
    if not isinstance(value, Tensor) or not value.is_leaf:
        return value
    if id(value) not in copies:
        copy = value.detach().clone()
        if isinstance(value, nn.Parameter):
            copy = nn.Parameter(copy, requires_grad=value.requires_grad)
            vars(copy).update(vars(value))
        else:
            copy.requires_grad_(value.requires_grad)
        copies[id(value)] = copy
    return copies[id(value)]


def _give_back(module: nn.Module, attributes: dict, holders: list[tuple[Any, Any]]) -> None:
    module.__dict__.update(attributes)
    for name in module.__dict__.keys() - attributes.keys():
        del module.__dict__[name]
    for holder, entries in holders:
        if not _same(_entries(holder), entries):
            _fill(holder, entries)


def _same(now: Any, before: Any) -> bool:
    """Whether the very same objects are there, in the same order."""
    if isinstance(before, dict):
        return list(now) == list(before) and all(a is b for a, b in zip(now.values(), before.values()))
    return len(now) == len(before) and all(a is b for a, b in zip(now, before))


@contextmanager
def random_streams(modules: list[nn.Module]) -> Iterator[None]:
    """A context after which every stream a model may draw from, torch's, numpy's and Python's, goes on where it was."""
    tensors = [each for module in modules for each in (*module._parameters.values(), *module._buffers.values())]
    devices = {each.device for each in tensors if each is not None}
    numpy, python = sys.modules.get("numpy"), random.getstate()
    state = numpy.random.get_state() if numpy is not None else None
    try:
        with streams_kept(devices):
            yield
    finally:
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(state)
