"""The batch with which infinities began, kept to be looked at again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..containers import tensors_in

MOST_BYTES = 2**28  # of inputs that are held while a step is recorded: those of larger ones are let go of


@dataclass(frozen=True, eq=False)
class KeptBatch:
    """What a model was given in the step in which infinities or NaN were first seen."""

    step: int
    arguments: tuple
    keywords: dict[str, Any]
    weights: dict[str, Tensor] | None  # as they were before the step, where it has changed them to NaN

    @contextmanager
    def weights_of_then(self, parameters: dict[str, nn.Parameter]) -> Iterator[None]:
        """A context in which the parameters are what they were before the step; afterwards they are what they are."""
        then = self.weights or {}
        now = {name: parameters[name].detach().clone() for name in then if name in parameters}
        with torch.no_grad():
            for name in now:
                parameters[name].copy_(then[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, each in now.items():
                    parameters[name].copy_(each)


def size_of(thing: Any) -> int:
    """How many bytes its tensors hold."""
    return sum(each.numel() * each.element_size() for each in tensors_in(thing))
