"""What must not change: a model and the world around it, as values that can be compared."""

import random
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_DEEPEST = 6


def bits(value: Tensor) -> bytes:
    return value.detach().reshape(-1).view(torch.uint8).numpy().tobytes()


def picture(value: Any, depth: int = _DEEPEST) -> Any:
    """A tensor as its identity, bits, version, gradient and hooks; a container or plain object as its contents."""
    if isinstance(value, Tensor):
        if value.is_sparse or not value.untyped_storage().size():
            return id(value), value._version
        gradient = (
            None
            if value.grad is None
            else (id(value.grad), str(value.grad) if value.grad.is_sparse else bits(value.grad))
        )
        return id(value), bits(value), value._version, value.requires_grad, gradient, value._backward_hooks
    if isinstance(value, (int, float, str, bytes, bool, type(None), nn.Module, type)) or depth == 0:
        return value if isinstance(value, (int, float, str, bytes)) else id(value)
    if isinstance(value, dict):
        return id(value), [(key, picture(each, depth - 1)) for key, each in value.items()]
    if isinstance(value, torch.Generator):
        return id(value), bytes(value.get_state())
    if isinstance(value, (list, tuple, set, deque)):
        return id(value) if not isinstance(value, tuple) else 0, [picture(each, depth - 1) for each in value]
    inside = getattr(value, "__dict__", None)
    if inside is None or callable(value) or type(value).__module__.startswith(("torch", "numpy")):
        return id(value)
    return id(value), [(key, picture(each, depth - 1)) for key, each in inside.items()]


def world(model: nn.Module) -> list:
    """Everything that must not change."""
    modules = [(name, type(module), picture(module.__dict__)) for name, module in model.named_modules()]
    _, key, *place = np.random.get_state()
    streams = torch.get_rng_state().numpy().tobytes(), random.getstate(), key.tobytes(), place
    return [modules, streams, torch.is_grad_enabled(), torch.get_num_threads()]
