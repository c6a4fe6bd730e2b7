"""The one source of random numbers: a CPU generator per seed, never the global one."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Generator, Tensor

from .arguments import available_device, floating_dtype, whole_numbers
from .signatures import checked
from .threads import one_at_a_time

__all__ = ["normal", "seeded"]


@checked
def seeded(seed: int) -> Generator:
    """A fresh CPU generator for this seed, so that a seed means the same numbers on every device.

    Raises ValueError if the seed is not a whole number of at least 0 and below 2⁶⁴.

    >>> torch.equal(torch.randn(3, generator=seeded(0)), torch.randn(3, generator=seeded(0)))
    True
    """
    (seed,) = whole_numbers(seed=seed, at_least=0)
    if seed >= 2**64:
        raise ValueError(f"seed={seed}\nexpected a whole number below 2⁶⁴")
    return Generator().manual_seed(seed)


@checked
def normal(
    *shape: int,
    generator: Generator,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normal numbers of the given shape.

    They are drawn on the CPU in float32 and then converted, so every dtype and device gets the same ones.
    Raises ValueError for a size that is no whole number, an unknown dtype or a device that is not there.

    >>> single, double = (normal(3, generator=seeded(0), dtype=each) for each in (torch.float32, torch.float64))
    >>> torch.equal(single.double(), double)
    True
    """
    for axis, size in enumerate(shape):
        if size:
            whole_numbers(**{f"size[{axis}]": size})
    drawn = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    return drawn.to(dtype=floating_dtype(dtype), device=available_device(device))


@contextmanager
def streams_kept(devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """A context after which torch's global streams, the CPU's and those of the devices, are as they were.

    While it lasts other threads wait before theirs: they would draw from the same streams.
    """
    with one_at_a_time(), torch.random.fork_rng(devices=[]), ExitStack() as kept:
        for device in _with_streams(devices):
            module = torch.get_device_module(device)
            where = () if device.type == "mps" else (device,)  # there is one
            kept.callback(module.set_rng_state, module.get_rng_state(*where), *where)
        yield


def seed_streams(seed: int, devices: Iterable[torch.device] = ()) -> None:
    """Seeds torch's global stream of the CPU and those of the devices; torch.manual_seed seeds every GPU there is."""
    torch.default_generator.manual_seed(seed)
    for device in _with_streams(devices):
        module = torch.get_device_module(device)
        if device.type == "mps":
            module.manual_seed(seed)
        else:
            with module.device(device):
                module.manual_seed(seed)


def _with_streams(devices: Iterable[torch.device]) -> set[torch.device]:
    return {device for device in devices if device.type not in ("cpu", "meta")}


@contextmanager
def global_stream(seed: int, device: torch.device) -> Iterator[None]:
    """A context in which modules that draw from torch's global stream find it seeded; afterwards it is as it was."""
    with streams_kept([device]):
        seed_streams(seed, [device])
        yield
