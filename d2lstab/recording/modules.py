"""Which modules of a model are layers, and what they are called."""

from collections.abc import Iterator
from contextlib import ExitStack

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module with its path as its author wrote it: without the parts that torch.compile and DDP add."""
    seen, waiting = set(), [("", model)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        if wrapped(module) is None:
            yield name, module
        prefix = f"{name}." if name else ""
        children = [(prefix + key, child) for key, child in module._modules.items() if child is not None]
        waiting += [(name, wrapped(module))] if wrapped(module) is not None else reversed(children)


def wrapped(module: nn.Module) -> nn.Module | None:
    """The user's module inside a wrapper of torch.compile, DataParallel or DistributedDataParallel; None without one."""
    if isinstance(module, (DataParallel, DistributedDataParallel)):
        return module.module
    inner = getattr(module, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else None


def layers(model: nn.Module, kinds: type | tuple[type, ...] | None = None) -> dict[str, nn.Module]:
    """The modules that `record` watches, by name: those of these kinds, or all that compute something themselves.

    These have no children, or parameters of their own; the model as a whole is one only if it has no children.
    """
    if kinds is not None:
        return {name: module for name, module in named_modules(model) if isinstance(module, kinds)}
    return {
        name: module
        for name, module in named_modules(model)
        if is_leaf(module) or (name and any(each is not None for each in module._parameters.values()))
    }


def is_leaf(module: nn.Module) -> bool:
    return not any(child is not None for child in module._modules.values())


def eager():
    """A context in which compiled code runs uncompiled, so that hooks see it."""
    stance = getattr(torch.compiler, "set_stance", None)  # new in torch 2.6
    return stance("force_eager") if stance is not None else ExitStack()


def in_backward() -> bool:
    """Whether autograd is calling: then a forward pass is a checkpoint's, done again."""
    return torch._C._current_graph_task_id() != -1
