"""Somebody's model, borrowed: used with copies of its numbers, and given back exactly as it was."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ..randomness import seed_streams, streams_kept
from ..recording.modules import wrapped


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
    everything = list({id(module): module for each in modules for module in each.modules()}.values())
    before = [(module, dict(module.__dict__), _contents(module)) for module in everything]
    with random_streams(everything):
        try:
            copies: dict[int, Tensor] = {}
            for module in everything:
                _exchange(module, copies)
            yield
        finally:
            for module, attributes, contents in before:
                _give_back(module, attributes, contents)


def reseed(model: nn.Module) -> None:
    """Starts the streams that a borrowed model may draw from anew: each pass finds the same random numbers."""
    seed_streams(0, {each.device for each in (*model.parameters(), *model.buffers())})


def _contents(module: nn.Module) -> list[tuple]:
    """The containers among a module's attributes, each with what is in it."""
    containers = (value for value in module.__dict__.values() if isinstance(value, (dict, list, set)))
    return [(container, container.copy()) for container in containers]


def _exchange(module: nn.Module, copies: dict[int, Tensor]) -> None:
    for container, items in _contents(module):
        if isinstance(container, dict):
            container.update({key: _copy(value, copies) for key, value in items.items()})
        elif isinstance(container, list):
            container[:] = [_copy(value, copies) for value in items]
    module.__dict__.update({name: _copy(value, copies) for name, value in module.__dict__.items()})


def _copy(value, copies: dict[int, Tensor]):
    """A private tensor of the same values, one for each tensor however often it is used; anything else as it is."""
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


def _give_back(module: nn.Module, attributes: dict, contents: list[tuple]) -> None:
    module.__dict__.update(attributes)
    for name in module.__dict__.keys() - attributes.keys():
        del module.__dict__[name]
    for container, items in contents:
        if isinstance(container, list):
            container[:] = items
        else:
            container.clear()
            container.update(items)


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
