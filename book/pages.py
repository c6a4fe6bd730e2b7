"""Pages that are made from what the repository already says: tables of chapter 00, faults, figures, the README."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .chapters import Chapter
from .names import ROOT, section

GUIDES = {"install": "Two commands", "test": "Test", "import": "Import"}  # a page of the site: a heading of the README

CALL = """report = diagnose(model, inputs, targets, loss, optimizer=optimizer)
print(report)
report.repaired()  # a copy with the remedy applied, where it is a change of the model"""


def every_page(chapters: Sequence[Chapter], readme: str) -> dict[str, str]:
    """The Markdown of each page, by its name."""
    start = chapters[0]
    made = {name: f"# {heading}\n\n{relinked(section(readme, heading))}" for name, heading in GUIDES.items()}
    return made | {
        "index": start_page(chapters),
        "notes": notes(prose_of(start), chapters),
        "symbols": "# Words and symbols\n\n" + section(prose_of(start), "Which words are used, and for what?"),
        "symptoms": symptoms(chapters, readme, literal("FAULTS")),
        "figures": gallery(chapters),
        "measurements": measurements(readme, stored(), ratios()),
    }


def prose_of(chapter: Chapter) -> str:
    return "\n\n".join(cell.source for cell in chapter.notebook.cells if cell.cell_type == "markdown")


def start_page(chapters: Sequence[Chapter]) -> str:
    return f"""# Numerical stability and initialization of deep networks

**Why does a deep network not train, and what scale does it need?** A course in {len(chapters)} notebooks, and the small
PyTorch package it is written with. Where theory predicts a curve, it is drawn over the measured one; every claim is an
assertion in a cell, and every cell is a test.

[![{chapters[0].figures[0].alt}](figures/{chapters[0].figures[0].file})](chapters/{chapters[0].name}.ipynb)

::::{{grid}} 1 1 3 3
:gutter: 3

:::{{grid-item-card}} Learn
:link: chapters/{chapters[0].name}
:link-type: doc

Bet on the answer, run the cell, see whether theory and measurement agree. Begins with what goes wrong, in one screen.
:::

:::{{grid-item-card}} Test
:link: test
:link-type: doc

Every cell is executed and compared with what is stored. Your own notebooks can assert in the same words.
:::

:::{{grid-item-card}} Import
:link: import
:link-type: doc

`diagnose` says what is wrong with your network, a `Monitor` watches it train, and each function takes your modules.
:::
::::

In trouble with a network? [From what you see to the fault](symptoms.md). Looking for a function? [The reference](reference/index.rst),
or the search. Looking for a picture? [All figures](figures.md). What does a letter stand for? [Words and symbols](symbols.md).

{list_of_chapters(chapters)}
```{{toctree}}
:hidden:
:caption: Course
{chr(10).join(f"{each.number} {each.title} <chapters/{each.name}>" for each in chapters)}
```

```{{toctree}}
:hidden:
:caption: Find
symptoms
figures
symbols
notes
measurements
```

```{{toctree}}
:hidden:
:caption: Use
install
test
import
reference/index
```
"""


def list_of_chapters(chapters: Sequence[Chapter]) -> str:
    rows = "\n".join(f"| [{each.number}](chapters/{each.name}.ipynb) | {each.title} |" for each in chapters)
    return f"## Chapters\n\n| | Question |\n|---|---|\n{rows}\n"


def notes(prose: str, chapters: Sequence[Chapter]) -> str:
    """The table of chapter 00 that says where each statement of the notes is, its chapters as links."""
    pages = {each.number: f"[{each.number}](chapters/{each.name}.ipynb)" for each in chapters}

    def linked(row: str) -> str:
        cells = row.split(" | ")
        cells[2] = re.sub(r"\d\d", lambda number: pages[number[0]], cells[2])
        return " | ".join(cells)

    lines = section(prose, "Where is each statement of the notes?").splitlines()
    return "# From the notes to the chapters\n\n" + "\n".join(
        linked(line) if line.startswith("| §") else line for line in lines
    )


def symptoms(chapters: Sequence[Chapter], readme: str, faults: Mapping[str, str]) -> str:
    """From what is seen to the fault, from the fault to the chapters that make it, and to the call that names it."""
    table = re.search(
        r"^\| The first number that looks odd .*?(?=\n\n|\Z)", prose_of(chapters[-1]), re.DOTALL | re.MULTILINE
    )
    if table is None:
        raise ValueError(f"{chapters[-1].name} has no table of first odd numbers\nexpected the one of chapter 13")
    seen = re.sub(
        r"`(\w+)`", lambda name: f"[`{name[1]}`](#{anchor(name[1])})" if name[1] in faults else name[0], table[0]
    )
    parts = [
        "# From the symptom to the fault",
        "One call names the fault, the layer it begins at, what was measured beside what is expected, and the remedy:",
        f"```python\n{CALL}\n```",
        "Without a call, by the first number that is odd:",
        seen,
    ]
    sees = seen_by(readme)
    for fault, meaning in faults.items():
        if fault == "healthy":
            continue
        where = ", ".join(f"[{each.title}](#{each.uses[fault]})" for each in chapters if fault in each.uses)
        told, untold = sees[fault]
        parts += [
            f"({anchor(fault)})=\n## `{fault}`",
            f"{meaning[0].upper()}{meaning[1:]}.",
            f"`diagnose` sees: {told}.\n\nIt does not see: {untold}.",
            f"Chapters: {where}." if where else "",
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def anchor(fault: str) -> str:
    return "fault-" + fault.replace("_", "-")


def seen_by(readme: str) -> dict[str, tuple[str, str]]:
    """What the README's table of faults says that `diagnose` sees of each, and what it does not."""
    rows = [
        line.strip("|").split("|")
        for line in section(readme, "What `diagnose` names, and what it does not see").splitlines()
    ]
    return {
        fault: (told.strip(), untold.strip())
        for names, told, untold in (row for row in rows if len(row) == 3)
        for fault in re.findall(r"`(\w+)`", names)
    }


def gallery(chapters: Sequence[Chapter]) -> str:
    """All figures, small, each a link to its place."""
    parts = ["# Figures"]
    for chapter in chapters:
        pictures = "\n".join(
            f'<a href="chapters/{each.chapter}.html#{each.anchor}"><img src="figures/small/{each.file}" loading="lazy" '
            f'alt="{escape(each.alt)}"><span>{each.number} {escape(plain(each.section))}</span></a>'
            for each in chapter.figures
        )
        parts += [f"## [{chapter.title}](chapters/{chapter.name}.ipynb)", f'<div class="gallery">\n{pictures}\n</div>']
    return "\n\n".join(parts) + "\n"


def plain(markdown: str) -> str:
    """A heading without its markup: of formulas only the letters stay."""
    return re.sub(r"\\[a-z]+ ?|[`${}^_]", "", markdown)


def measurements(readme: str, experiments: Mapping[str, dict[str, Any]], bench: Mapping[str, Any]) -> str:
    """What was measured for longer than a chapter takes, under which settings, with which versions."""
    rows = "\n".join(
        f"| {name} | {len(each['rows'])} | {told(each['settings'])} | {told(each['versions'])} |"
        for name, each in experiments.items()
    )
    return f"""# Measurements

## What does it cost?

{section(readme, "How fast is it?")}
{table_of_ratios(bench)}
## What took longer than a chapter may

`make experiments` calculates these, and the chapters draw them and repeat a part.

| Experiment | Rows | Settings | Calculated with |
|---|---|---|---|
{rows}
"""


def ratios(path: Path = ROOT / "benchmarks" / "ratios.json") -> dict[str, Any]:
    return json.loads(path.read_text())


def table_of_ratios(bench: Mapping[str, Any]) -> str:
    """The stored ratios of `make bench`: the machine, and a table of each group."""
    stored_parts = ", ".join(bench["parts"])
    parts = [
        f"Of the parts of `make bench` these are stored: {stored_parts}.",
        f"They were measured on: {bench['machine']}.",
        "A ratio is the median of several, in brackets from where to where it is known; on another machine it is another.",
    ]
    for against, rows in bench["groups"].items():
        lines = "\n".join(
            f"| {ratio_name(name)} | {ratio_text(row, bench['limits'].get(name))} |" for name, row in rows.items()
        )
        parts.append(f"| {against[0].upper()}{against[1:]} | Ratio |\n|---|---|\n{lines}")
    return "\n\n".join(parts) + "\n"


def ratio_name(name: str) -> str:
    """A row's name; one that is indented below another begins with a dash."""
    return f"– {name.strip()}" if name.startswith(" ") else name


def ratio_text(row: Sequence[float] | str, limit: float | None) -> str:
    """A ratio, from where to where it is known, and what is promised; or why there is none."""
    if isinstance(row, str):
        return row
    promised = "" if limit is None else f"; promised: {limit:g} at most"
    return f"{row[0]:.2f} ({row[1]:.2f}\u2060–\u2060{row[2]:.2f}){promised}"  # joined: no line breaks at the dash


def told(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()).replace("|", r"\|")


def stored(folder: Path = ROOT / "experiments") -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def literal(name: str, package: Path = ROOT / "d2lstab") -> Any:
    """The value that a name of the package is given in its source. Raises ValueError if none or several are."""
    found = [
        node.value
        for path in sorted(package.rglob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == name
        and node.value
    ]
    if len(found) != 1:
        raise ValueError(f"{name} is given a value {len(found)} times in {package}\nexpected once")
    return ast.literal_eval(found[0])


def relinked(markdown: str) -> str:
    """Markdown of the README whose links lead to pages; files that have none are named without a link."""

    def lead(link: re.Match) -> str:
        text, target = link.groups()
        if target.startswith(("http", "#")):
            return link[0]
        if target.startswith("notebooks/"):
            return f"[{text}](chapters/{target.removeprefix('notebooks/')})"
        return text if text.startswith("`") else f"`{text}`" if "/" in text else text

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)]+)\)", lead, markdown)
