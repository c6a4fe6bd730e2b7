"""Which modules of a model are layers, and what they are called."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from .keras import layers_in, of_keras

_WIDTH_LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module with its path as its author wrote it: without the parts that torch.compile and DDP add."""
    seen, waiting = set(), [("", model)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        inner = wrapped(module)
        if inner is not None:
            waiting.append((name, inner))
            continue
        yield name, module
        prefix = f"{name}." if name else ""
        waiting += reversed([(prefix + key, child) for key, child in children_of(module)])


def children_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules inside this one by name: those that are registered, and of Keras those that its layers hold."""
    if not of_keras(module):
        return [(key, child) for key, child in module._modules.items() if child is not None]
    foreign = [(key, each) for key, each in module._modules.items() if each is not None and not of_keras(each)]
    return layers_in(module) + [(key, each) for key, each in foreign if not isinstance(each, nn.ParameterDict)]


def wrapped(module: nn.Module) -> nn.Module | None:
    """The user's module inside a wrapper of torch.compile, DataParallel or DistributedDataParallel; None without one."""
    if isinstance(module, (DataParallel, DistributedDataParallel)):
        return module.module
    children = module._modules
    return children["_orig_mod"] if "_orig_mod" in children else None  # noqa: SIM401  a scripted module's has no `get`


def is_layer(name: str, module: nn.Module, kinds: type | tuple[type, ...] | None) -> bool:
    """Whether `record` watches it: as one of these kinds, or without them as one that computes something itself.

    Such a module has no children, or parameters of its own; the model as a whole is one only if it has no children.
    """
    if kinds is not None:
        return isinstance(module, kinds)
    return is_leaf(module) or (bool(name) and any(each is not None for each in module._parameters.values()))


def is_leaf(module: nn.Module) -> bool:
    """Whether it has no modules inside."""
    return not module._modules or not children_of(module)


def calls_functions(module: nn.Module) -> bool:
    """Whether its forward pass may call activations as functions: torch's own layers and plain containers do not."""
    if "forward" in module.__dict__:
        return True
    own = is_leaf(module) and type(module).__module__.startswith("torch.nn.modules.")
    return not own and type(module) not in (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def axis_of_units(module: nn.Module, axes: int) -> int | None:
    """Which of so many axes of a weight layer's output is the one of units; None for other layers."""
    if isinstance(module, _WIDTH_LAST) or of_keras(module):
        return -1
    return 1 if module._parameters.get("weight") is not None and axes > 1 else None


def check_kinds(model: Any, kinds: Any) -> None:
    """Raises TypeError for a model that is no module, and for kinds that are no class, tuple of classes, or None."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={model!r} of type {type(model).__name__}\nexpected a torch.nn.Module")
    several = (object if kinds is None else kinds,) if not isinstance(kinds, tuple) else kinds
    if not several or not all(isinstance(kind, type) for kind in several):
        raise TypeError(f"kinds={kinds!r}\nexpected a class or a tuple of classes, such as nn.Linear")


def eager() -> AbstractContextManager[Any]:
    """A context in which compiled code runs uncompiled, so that hooks see it."""
    stance = getattr(torch.compiler, "set_stance", None)  # new in torch 2.6
    if stance is None or "torch._dynamo" not in sys.modules:  # nothing is compiled, and that import is a large one
        return ExitStack()
    return stance("force_eager")


def in_backward() -> bool:
    """Whether autograd is calling: then a forward pass is a checkpoint's, done again."""
    return torch._C._current_graph_task_id() != -1
