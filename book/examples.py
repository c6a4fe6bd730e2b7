"""The pictures that the examples of docstrings draw: each is run once, where the site is built."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from doctest import DocTestParser, DocTestRunner
from importlib import import_module
from io import BytesIO, StringIO
from typing import Any


@dataclass(frozen=True)
class Picture:
    """What an example draws."""

    png: bytes
    text: str  # what is seen, in words


def pictures(owned: Mapping[str, str]) -> dict[str, Picture]:
    """The picture of each public name whose example leaves a figure, by the name.

    owned: the full names of public names. The examples themselves are tests; here an error in one ends the build.
    """
    things = {
        name: getattr(import_module(full.rpartition(".")[0]), name) for name, full in with_examples(owned).items()
    }
    reader = {"torch": import_module("torch"), "nn": import_module("torch.nn"), **things}
    drawn = {name: picture(name, inspect.getdoc(thing) or "", dict(reader)) for name, thing in things.items()}
    return {name: made for name, made in drawn.items() if made is not None}


def with_examples(owned: Mapping[str, str]) -> dict[str, str]:
    """Those of the names that the package itself can be asked for, without what others' trainers bring."""
    return {name: full for name, full in owned.items() if full.split(".")[1] not in ("lightning", "transformers")}


def picture(name: str, docstring: str, names: dict[str, Any]) -> Picture | None:
    """The last figure that the example of a docstring draws; None if it draws none. Raises ValueError if it fails."""
    example = DocTestParser().get_doctest(docstring, names, name, None, None)
    if not any(re.search(r"\bax(es)?\b", line.source) for line in example.examples):
        return None
    import matplotlib.pyplot as plt

    from d2lstab import course_style

    course_style()
    said = StringIO()
    if DocTestRunner(verbose=False).run(example, out=said.write).failed:
        raise ValueError(
            f"the example of {name} fails\nexpected one that tests/test_docstrings.py passes\n{said.getvalue()}"
        )
    figures = [plt.figure(number) for number in plt.get_fignums()]
    drawn = [figure for figure in figures if any(axes.has_data() for axes in figure.axes)]
    png = BytesIO()
    if drawn:
        drawn[-1].savefig(png, format="png")
    plt.close("all")
    return Picture(png.getvalue(), described(drawn[-1])) if drawn else None


def described(figure: Any) -> str:
    """A figure in words: its alternative text, or what stands at its axes and in its legend."""
    if isinstance(label := figure.get_label(), str) and label:
        return label
    parts = [text for text in map(of_axes, figure.axes) if text]
    bars = [axes.get_ylabel() for axes in figure.axes if axes.get_label() == "<colorbar>" and axes.get_ylabel()]
    return "; ".join([*parts, *(f"colours: {label}" for label in bars)]) or "values as colours or lines, without labels"


def of_axes(axes: Any) -> str:
    if axes.get_label() == "<colorbar>":
        return ""
    across, up = axes.get_xlabel(), axes.get_ylabel()
    said = f"{up} against {across}" if across and up else across or up
    legend = axes.get_legend()
    lines = ", ".join(text.get_text() for text in legend.get_texts()) if legend else ""
    return ": ".join(text for text in (said, lines) if text)
