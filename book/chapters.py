"""The chapters as pages: stored notebooks, changed so that a browser shows them to everybody."""

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .names import ROOT, imported, spoken, used

FOLDER = ROOT / "notebooks"


@dataclass(frozen=True)
class Figure:
    """A stored picture of a chapter."""

    chapter: str  # the chapter's file without .ipynb
    number: str  # such as 3.2, counted in the chapter
    section: str  # the heading it stands below
    alt: str
    png: bytes
    width: int
    height: int
    live: str  # the controls it has in JupyterLab; empty for one that stands still
    uses: frozenset[str] = field(repr=False)  # the names that its cell reads

    @property
    def anchor(self) -> str:
        return f"figure-{self.number.replace('.', '-')}"

    @property
    def file(self) -> str:
        return f"{self.anchor}.png"


@dataclass(frozen=True)
class Chapter:
    """A stored notebook with what its page and the other pages need."""

    name: str  # the file without .ipynb
    title: str
    notebook: NotebookNode
    figures: tuple[Figure, ...]
    uses: Mapping[str, str]  # the label of the first section that uses a name, in code or in prose

    @property
    def number(self) -> str:
        return self.name[:2]


def chapters(folder: Path = FOLDER) -> list[Chapter]:
    """All chapters as they are best read: in the order of chapter 00's map, then those that it does not have."""
    found = [read(path) for path in sorted(folder.glob("*.ipynb"))]
    cells = "\n\n".join(cell.source for cell in found[0].notebook.cells if cell.cell_type == "markdown")
    mapped = re.findall(r"^\| \[(\d\d)\]\(", cells, re.MULTILINE)
    order = {number: place for place, number in enumerate([found[0].number, *mapped])}
    return sorted(found, key=lambda chapter: order.get(chapter.number, len(order)))


def read(path: Path) -> Chapter:
    """The chapter at a path. Raises ValueError for a picture without its alternative text."""
    notebook = nbformat.read(path, as_version=4)
    figures: list[Figure] = []
    uses: dict[str, str] = {}
    heading, place = "", label(path.stem, 0)
    local = {}
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            if found := re.findall(r"^##? (.*)$", cell.source, re.MULTILINE):
                heading, place = found[-1], label(path.stem, index)
            names = spoken(cell.source)
        elif cell.cell_type == "code":
            local |= imported(cell.source)
            names = used(cell.source, local)
        else:
            continue
        names = list(names)
        for name in names:
            uses.setdefault(name, place)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                number = f"{int(path.stem[:2])}.{len(figures) + 1}"
                figures.append(figure(output, path.stem, number, heading, frozenset(names)))
    title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
    return Chapter(path.stem, title, notebook, tuple(figures), uses)


def figure(output: NotebookNode, chapter: str, number: str, heading: str, uses: frozenset[str]) -> Figure:
    facts = output.metadata.get("image/png", {})
    if not facts.get("alt"):
        raise ValueError(
            f"figure {number} of {chapter} has no alternative text\nexpected alt_text(ax, ...) in its cell"
        )
    live = re.fullmatch(r"LiveFigure\((.*)\)", output.data.get("text/plain", ""))
    png = b64decode(output.data["image/png"])
    return Figure(
        chapter, number, heading, facts["alt"], png, facts["width"], facts["height"], live[1] if live else "", uses
    )


def label(chapter: str, cell: int) -> str:
    """The target in front of the heading of a cell."""
    return f"chapter-{chapter[:2]}-cell-{cell:02d}"


def page(chapter: Chapter, opened: str = "") -> NotebookNode:
    """The notebook that its page is made from.

    Pictures become figures with number and alternative text, solutions are folded, sections can be linked to, and
    what only works in JupyterLab is left out. opened: a line of links below the title.
    """
    made = nbformat.from_dict(chapter.notebook)
    figures = iter(chapter.figures)
    for index, cell in enumerate(made.cells):
        if cell.cell_type == "markdown":
            if index:
                cell.source = re.sub(r"^# ", "## ", cell.source, flags=re.MULTILINE)  # a page has one title
            cell.source = _targets(cell.source, label(chapter.name, index))
            if index == 0 and opened:
                head, length, rest = cell.source.split("\n\n", 2)
                cell.source = f"{head}\n\n{length}\n\n{opened}\n\n{rest}"
        elif cell.cell_type == "code":
            if cell.metadata.get("jupyter", {}).get("source_hidden"):
                cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-cell"]
                cell.metadata["mystnb"] = {"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide it"}
            cell.outputs = [_shown(output, figures) for output in cell.outputs if not _only_in_jupyterlab(output)]
    return made


def _targets(source: str, name: str) -> str:
    """Markdown with a target in front of its last heading that begins a section."""
    found = list(re.finditer(r"^##? ", source, re.MULTILINE))
    if not found:
        return source
    start = found[-1].start()
    return f"{source[:start]}({name})=\n{source[start:]}"


def _only_in_jupyterlab(output: NotebookNode) -> bool:
    html = output.get("data", {}).get("text/html", "")
    return "d2lstab-live" in html or "d2lstab-alt" in html


def _shown(output: NotebookNode, figures) -> NotebookNode:
    if "image/png" not in output.get("data", {}):
        return output
    return nbformat.v4.new_output("display_data", {"text/html": html(next(figures))})


def html(figure: Figure) -> str:
    """A figure as HTML: the picture, its text for those who do not see it, and the same as a caption: what to look at."""
    seen = escape(figure.alt.rstrip("."))
    caption = f'<a href="#{figure.anchor}">Figure {figure.number}</a>. {seen}.'
    if figure.live:
        caption += f" In JupyterLab it has controls; here it shows {escape(figure.live)}."
    return (
        f'<figure class="chapter-figure" id="{figure.anchor}"><img src="../figures/{figure.file}" loading="lazy" '
        f'width="{figure.width}" height="{figure.height}" alt="{escape(figure.alt)}"><figcaption>{caption}</figcaption>'
        "</figure>"
    )


def installed(notebook: NotebookNode, address: str) -> NotebookNode:
    """The notebook with a first cell that installs the package from an address: for machines that do not have it."""
    made = nbformat.from_dict(notebook)
    cell = nbformat.v4.new_code_cell(f'%pip install --quiet "d2lstab[course] @ {address}"')
    cell["id"] = "install"
    made.cells.insert(0, cell)
    return made
