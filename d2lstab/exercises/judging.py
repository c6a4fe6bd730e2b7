"""How an answer is judged: right, not right yet with a hint, or still awaited."""

from collections.abc import Callable
from typing import Any

from ..signatures import checked

# An exercise maps an answer to None if it is right, and otherwise to a hint that does not give it away.
Judge = Callable[[Any], str | None]
EXERCISES: dict[str, Judge] = {}


@checked
def check(number: str, answer: Any) -> None:
    """Prints whether the answer to an exercise is right, and a hint where it is not.

    number: of the exercise, such as "03.2". answer: what the exercise asks for, a number or a function; None or
    `...` means not answered yet.
    Raises ValueError for a number that no exercise has.
    """
    if number not in EXERCISES:
        raise ValueError(f"exercise={number!r}\nexpected one of {', '.join(sorted(EXERCISES))}")
    if answer is None or answer is ...:
        print(f"{number} is waiting for your answer.")
        return
    try:
        hint = EXERCISES[number](answer)
    except Exception as error:  # noqa: BLE001  whatever an answer does, the learner gets a line, not our traceback
        hint = f"trying your answer gave {type(error).__name__}: {error}"
    print(f"{number} is right." if hint is None else f"{number} is not right yet: {hint}")


def exercise(number: str) -> Callable[[Judge], Judge]:
    def enter(judge: Judge) -> Judge:
        EXERCISES[number] = judge
        return judge

    return enter


def close(answer: Any, expected: float, within: float, hint: str) -> str | None:
    value = float(answer)
    if abs(value - expected) <= within:
        return None
    return f"{value:.6g} is too {'small' if value < expected else 'large'}. {hint}"
