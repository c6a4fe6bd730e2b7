"""What an experiment found, as a file beside it: calculated and stored row by row, loaded by chapters and tests."""

import json
import platform
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import torch

FOLDER = Path(__file__).parent


def load(name: str, *, folder: Path = FOLDER) -> dict[str, Any]:
    """What is stored of an experiment: "versions", "settings" and "rows", by name.

    Raises FileNotFoundError, with the command that makes it, where nothing is.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"no {path.name} in {folder}\nmake experiments ARGS={name} calculates it")
    return json.loads(path.read_text())


def calculate(
    name: str,
    row: Callable[[str], Any],
    *,
    rows: Iterable[str],
    settings: dict[str, Any],
    chosen: Sequence[str] = (),
    folder: Path = FOLDER,
) -> None:
    """Stores row(name), numbers in lists or dicts, for each of the rows, or for those that begin as one of `chosen` does.

    The file is written after each row, so that an interrupted run loses one. Rows made with other settings or other
    versions of Python and torch are discarded first: a file is of one piece.
    Raises ValueError if no row begins so.
    """
    rows = list(rows)
    wanted = [each for each in rows if not chosen or each.startswith(tuple(chosen))]
    if not wanted:
        raise ValueError(f"no row begins with {' or '.join(chosen)}\nexpected some of: {', '.join(rows)}")
    head = {"versions": {"python": platform.python_version(), "torch": torch.__version__}, "settings": settings}
    head = json.loads(json.dumps(head))  # as it will be read: lists for tuples
    path = folder / f"{name}.json"
    before = load(name, folder=folder) if path.exists() else head
    found = before.get("rows", {}) if {key: before[key] for key in head} == head else {}
    for each in wanted:
        begun = monotonic()
        found[each] = row(each)
        kept = {known: found[known] for known in rows if known in found}
        path.write_text(_text(head | {"rows": kept}))
        print(f"{name}: {each} in {monotonic() - begun:.0f} s", flush=True)


def _text(stored: dict[str, Any]) -> str:
    """JSON with a list of numbers on one line, so that a change can be read."""
    text = json.dumps(stored, indent=1, ensure_ascii=False)
    return re.sub(r"\[[^][{}]*\]", lambda numbers: re.sub(r"\s+", " ", numbers[0]), text) + "\n"
