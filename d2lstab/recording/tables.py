"""Tables of rows, for a notebook and for a terminal."""

from html import escape
from importlib import import_module
from math import isnan
from typing import Any


def number_text(value: float) -> str:
    """Two significant digits, or a dash for what was not measured."""
    return "–" if isnan(value) else f"{value:.2g}"


def shape_text(shape: tuple[int, ...]) -> str:
    """The sizes with × between them."""
    return "×".join(map(str, shape)) or "scalar"


def frame(rows: list[dict[str, Any]], columns: list[str]) -> Any:
    """A pandas DataFrame of the rows. Raises ModuleNotFoundError, with the command that helps, where pandas is missing."""
    try:
        pandas = import_module("pandas")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a DataFrame is one of pandas, which is not installed\nexpected pip install pandas"
        ) from error
    return pandas.DataFrame(rows, columns=columns)


def html_table(head: list[str], body: list[list[str]], *, caption: str = "") -> str:
    """An HTML table whose columns of words begin at the left; those of numbers end at the right, as notebooks have it."""
    words = [not all(map(_is_number, column)) for column in zip(*body)] or [False] * len(head)
    words[0] = True  # names, and if they are numbers
    left = [' style="text-align: left"' if each else "" for each in words]
    cells = "".join(
        "<tr>" + "".join(f"<td{each}>{escape(cell)}</td>" for cell, each in zip(row, left)) + "</tr>" for row in body
    )
    top = "".join(f'<th{each} scope="col">{escape(cell)}</th>' for cell, each in zip(head, left))
    return f"<table><caption>{escape(caption)}</caption><tr>{top}</tr>{cells}</table>"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "–"
    return True


def text_table(head: list[str], body: list[list[str]]) -> str:
    """Columns aligned, the first to the left and the others, most of them numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(head, *body)]
    lines = ([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])] for cells in (head, *body))
    return "\n".join("  ".join(line) for line in lines)
