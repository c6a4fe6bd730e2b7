"""What a caller may pass: the checks that every experiment makes first, in the same words."""

import operator
from collections.abc import Iterable
from functools import partial
from math import inf, log10
from numbers import Real
from typing import Any, TypeGuard

import torch

_LARGEST = 2**31 - 1  # of a size; seeds, which may be 0, are larger


def whole_numbers(*, at_least: int = 1, **given: int) -> tuple[int, ...]:
    """The named sizes as ints, in the order given.

    Raises ValueError, naming the size, for anything that is not a whole number from `at_least` to 2³¹ − 1; where 0 is
    allowed, as for seeds, there is no largest.
    """
    return tuple(_whole_number(name, value, at_least) for name, value in given.items())


def seed_list(seeds: Iterable[int] | int) -> list[int]:
    """The seeds as a list of ints; one whole number means that one seed.

    Raises ValueError if there is none, one is negative, or one appears twice.
    """
    one = not isinstance(seeds, Iterable) or (isinstance(seeds, torch.Tensor) and not seeds.dim())
    given: list[Any] = [seeds] if one else list(seeds)  # pyright: ignore[reportGeneralTypeIssues, reportArgumentType]
    numbers = [_whole_number("seed", seed, at_least=0) for seed in given]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds={numbers}\nexpected at least one seed, each different, such as range(8)")
    return numbers


def floating_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The dtype itself, or torch's default one for None.

    Raises ValueError for anything that is not a floating torch.dtype.
    """
    if dtype is None:
        return torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype={dtype!r}\nexpected a floating torch.dtype, such as torch.float32 or torch.float64")
    return dtype


def available_device(device: torch.device | str | int | None) -> torch.device:
    """The device as a torch.device, the CPU for None.

    Raises ValueError if torch does not know it or this machine does not have it.
    """
    try:
        found = torch.device("cpu" if device is None else device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        present = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        raise ValueError(f"device={device!r} cannot be used here\nexpected one of {', '.join(present)}") from error
    return found


def check_factory(name: str, given: object, *, makes: str = "network") -> None:
    """Raises TypeError for what is no function of a seed, above all a finished module."""
    if isinstance(given, torch.nn.Module) or not callable(given):
        raise TypeError(
            f"{name} is a {type(given).__name__}\n"
            f"expected a function that returns a new {makes} for a seed: def {name}(seed): ..."
        )


def is_number(value: object) -> bool:
    """Whether a value is a real number: Python's, numpy's or a tensor of one entry that it has, no bool and no text."""
    if isinstance(value, torch.Tensor):
        has_value = value.device.type != "meta"
        return has_value and value.numel() == 1 and not value.is_complex() and value.dtype != torch.bool
    return isinstance(value, Real) and not isinstance(value, bool)


def not_negative(*, below: float = inf, **given: float) -> float:
    """The one named number. Raises ValueError unless it is finite, at least 0 and below `below`."""
    ((name, value),) = given.items()
    if not is_number(value) or not 0 <= value < below:
        limit = "" if below == inf else f", below {below:g}"
        raise ValueError(f"{name}={value!r}\nexpected a finite number of at least 0{limit}")
    return value


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number: Python's, numpy's or a tensor of one, no bool and no text."""
    if isinstance(value, bool) or (isinstance(value, torch.Tensor) and value.dtype == torch.bool):
        return False
    try:
        operator.index(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def name_of(function: object) -> str:
    """A function's name, with the arguments of a partial; never an address."""
    if isinstance(function, partial):
        arguments = [*map(repr, function.args), *(f"{key}={value!r}" for key, value in function.keywords.items())]
        return f"{name_of(function.func)}({', '.join(arguments)})"
    return getattr(function, "__name__", type(function).__name__)


def _whole_number(name: str, value: int, at_least: int) -> int:
    try:
        number = operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor of several entries, or without any
        number = None
    if number is None or isinstance(value, bool) or number < at_least:
        raise ValueError(
            f"{name}={value!r} of type {type(value).__name__}\nexpected a whole number of at least {at_least}"
        )
    if at_least and number > _LARGEST:
        power = log10(number)  # which a float holds, whatever the number
        raise ValueError(f"{name}=1e{power:.0f} or so\nexpected a size that fits a computer, at most 2³¹ − 1")
    return number
