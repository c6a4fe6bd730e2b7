"""The one source of random numbers: a CPU generator per seed, never the global one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from .arguments import available_device, floating_dtype, whole_numbers


def seeded(seed: int) -> Generator:
    """A fresh CPU generator for this seed, so that a seed means the same numbers on every device.

    Raises ValueError if the seed is not a whole number of at least 0.
    """
    return Generator().manual_seed(*whole_numbers(seed=seed, at_least=0))


def normal(
    *shape: int,
    generator: Generator,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normal numbers of the given shape.

    They are drawn on the CPU in float32 and then converted, so every dtype and device gets the same ones.
    Raises ValueError for an unknown dtype or a device that is not there.
    """
    drawn = torch.randn(shape, generator=generator, dtype=torch.float32)
    return drawn.to(dtype=floating_dtype(dtype), device=available_device(device))


@contextmanager
def global_stream(seed: int, device: torch.device) -> Iterator[None]:
    """A context in which modules that draw from torch's global stream find it seeded; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed) if device.type == "cuda" else torch.default_generator.manual_seed(seed)
        yield
