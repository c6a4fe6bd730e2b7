"""How an answer is judged: right, not right yet with a hint, or still awaited."""

from collections.abc import Callable, Mapping
from math import inf, isnan
from typing import Any

import torch

from ..signatures import checked


class Unreadable(Exception):
    """An answer that is not of the kind that was asked for; its message is for the learner."""


# An exercise maps an answer to None if it is right, and otherwise to a hint that does not give it away.
Judge = Callable[[Any], str | None]
EXERCISES: dict[str, Judge] = {}


@checked
def check(number: str, answer: Any) -> None:
    """Prints whether the answer to an exercise is right, and a hint where it is not.

    number: of the exercise, such as "03.2". answer: what the exercise asks for, a number or a function; None or
    `...` means not answered yet.
    Raises ValueError for a number that no exercise has.

    >>> check("03.3", None)
    03.3 is waiting for your answer.
    >>> check("03.3", 0.5)
    03.3 is not right yet: 0.5 is too small. A typical product neither grows nor shrinks where λ₁ = 0.
    """
    if number not in EXERCISES:
        raise ValueError(f"exercise={number!r}\nexpected one of {', '.join(sorted(EXERCISES))}")
    if answer is None or answer is ...:
        print(f"{number} is waiting for your answer.")
        return
    try:
        hint = EXERCISES[number](answer)
    except Unreadable as error:
        hint = f"{error}."
    except Exception as error:  # noqa: BLE001  whatever an answer does, the learner gets a line, not our traceback
        hint = f"trying your answer gave {type(error).__name__}: {error}"
    print(f"{number} is right." if hint is None else f"{number} is not right yet: {hint}")


def exercise(number: str) -> Callable[[Judge], Judge]:
    """A decorator that makes a function the judge of the exercise of this number."""

    def enter(judge: Judge) -> Judge:
        EXERCISES[number] = judge
        return judge

    return enter


def number(answer: Any) -> float:
    """The one number that an answer is. Raises Unreadable if it is none."""
    single = isinstance(answer, torch.Tensor) and answer.numel() == 1
    given: Any = answer.detach().reshape(()).item() if single else answer
    if isinstance(given, (str, bytes, torch.Tensor)) or not hasattr(given, "__float__"):
        raise Unreadable(f"expected one number, not {_kind(answer)}")
    value = float(given)
    if isnan(value):
        raise Unreadable(
            "the answer is NaN, which is no number: look for 0/0, ∞ − ∞ or the logarithm of a negative number"
        )
    return value


def _kind(answer: Any) -> str:
    name = type(answer).__name__
    return f"a {name} of shape {tuple(answer.shape)}" if isinstance(answer, torch.Tensor) else f"a {name}"


def positive(answer: Any, what: str) -> float:
    """The one positive number that an answer is. Raises Unreadable for others."""
    value = number(answer)
    if not 0 < value < inf:
        raise Unreadable(f"{value:g} given, and a {what} is a finite number above 0")
    return value


def close(
    answer: Any, expected: float, within: float, hint: str, *, mistakes: Mapping[float, str] | None = None
) -> str | None:
    """None if the answer is this number; otherwise how it is off, and a hint.

    mistakes: what one gets who overlooks something -> what that is, said in place of the hint.
    Raises Unreadable unless the answer is one number.
    """
    value = number(answer)
    if abs(value - expected) <= within:
        return None
    for wrong, cause in (mistakes or {}).items():
        if abs(value - wrong) <= max(within, 1e-9 * abs(wrong)):
            return f"{value:.6g} is {cause}"
    return f"{value:.6g} is too {'small' if value < expected else 'large'}. {hint}"
