"""The reference: one page per module, made from its docstrings, with the chapters that use each name."""

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from d2lstab.signatures import ARGUMENTS

from .chapters import Chapter, Figure
from .names import PACKAGE, Module


def reference_pages(modules: Sequence[Module], chapters: Sequence[Chapter], drawn: Mapping[str, str]) -> dict[str, str]:
    """The reStructuredText of the index and of each module, by the name of its page.

    drawn: in words what the example of a name draws, for those that draw; the picture is pictures/NAME.png.
    """
    pages = {f"reference/{module.name}": module_page(module, chapters, drawn) for module in modules}
    return {"reference/index": index(modules)} | pages


def index(modules: Sequence[Module]) -> str:
    rows = "\n".join(
        f"   * - :doc:`{module.name}`\n     - {escaped(module.about, {})}\n     - {' '.join(f':py:obj:`~d2lstab.{module.name}.{name}`' for name in module.names)}"
        for module in modules
    )
    entries = "\n".join(f"   {module.name}" for module in modules)
    return (
        f"{heading('Reference')}\n\nOne page per module. Everything is imported from its module, as "
        "``from d2lstab.floats import ulp``; what is used most, from ``d2lstab`` as well.\n\n"
        f".. list-table::\n   :class: names\n   :header-rows: 1\n   :widths: 14 30 56\n\n   * - Module\n     - About\n     - Names\n{rows}\n\n"
        f"{heading('Arguments that mean the same everywhere', '-')}\n\n{common_arguments()}\n\n"
        f"{heading('What is raised for arguments of another kind', '-')}\n\n{ARGUMENTS} Most functions do, beside what their "
        "entries say; ``help()`` shows it with each that does.\n\n"
        f".. toctree::\n   :hidden:\n\n{entries}\n"
    )


def common_arguments() -> str:
    """What the package's own docstring says of arguments that many functions take, as a list of definitions."""
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text())) or ""
    told = re.findall(r"(?:^|(?<=\. ))(\w+(?:, \w+)*): (.*?)(?=$|(?<=\.) \w+(?:, \w+)*: )", text, re.MULTILINE)
    return "\n".join(f"``{names}``\n   {escaped(meaning, {})}" for names, meaning in told)


def module_page(module: Module, chapters: Sequence[Chapter], drawn: Mapping[str, str]) -> str:
    full = f"d2lstab.{module.name}"
    parts = [
        heading(f"{module.name}"),
        f".. py:module:: {full}",
        f"{escaped(module.about[0].upper() + module.about[1:], {})}. Floor {module.floor} of the package: it imports from the floors below.",
    ]
    for name in module.names:
        kind = kind_of(name)
        body = [f".. auto{kind}:: {full}.{name}"]
        if kind == "class":
            body.append("   :members:\n   :member-order: bysource")
        if kind == "data":
            body.append("   :no-value:")
        figure, uses = first_figure(name, chapters), used_in(name, chapters)
        picture = example_picture(name, drawn[name]) if name in drawn else figure and thumbnail(figure)
        entry = "\n".join(body)
        below = [text for text in (picture, uses) if text]
        parts.append(entry + "".join("\n\n" + indented(text) for text in below))
    return "\n\n".join(parts) + "\n"


def kind_of(name: str) -> str:
    """What autodoc is told of a name: catalogues are data, names in capitals and small letters classes."""
    if name.isupper():
        return "data"
    return "class" if re.match(r"[A-Z]", name) else "function"


def used_in(name: str, chapters: Sequence[Chapter]) -> str:
    """The chapters that use a name, each a link to the first section that does; empty if none does."""
    links = [
        f":ref:`{chapter.number} {chapter.title} <{chapter.uses[name]}>`"
        for chapter in chapters
        if name in chapter.uses
    ]
    return f".. rst-class:: used-in\n\n**Used in** {', '.join(links)}" if links else ""


def first_figure(name: str, chapters: Sequence[Chapter]) -> Figure | None:
    """The first figure whose cell uses a name."""
    return next((figure for chapter in chapters for figure in chapter.figures if name in figure.uses), None)


def example_picture(name: str, text: str) -> str:
    """What the example of a name draws, below it."""
    said = " ".join(f"What the example of {name} draws: {text}".split()).rstrip(".") + "."
    caption = escaped(f"What the example draws: {' '.join(text.split())}".rstrip(".") + ".", {})
    return f".. figure:: pictures/{name}.png\n   :alt: {said}\n   :figclass: example\n\n   {caption}"


def thumbnail(figure: Figure) -> str:
    alt = " ".join(figure.alt.split())
    return (
        f".. figure:: /figures/small/{figure.file}\n   :alt: {alt}\n   :target: ../chapters/{figure.chapter}.html#{figure.anchor}\n"
        f"   :figclass: thumbnail\n\n   Figure {figure.number}. {escaped(alt, {})}"
    )


def heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}"


def indented(text: str) -> str:
    return "\n".join(f"   {line}" if line else "" for line in text.splitlines())


# A docstring is prose with a few forms of its own: these are told to Sphinx, and nothing in it is taken for markup.
FORMS = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<rest>.*)$")


def restructured(lines: Sequence[str], parameters: Sequence[str], owned: Mapping[str, str]) -> list[str]:
    """The lines of a docstring as reStructuredText: its parameters, errors and sources as fields, its code as code.

    parameters: the names of what is described, as its signature has them. owned: the full names of public names.
    """
    made: list[str] = []
    paragraph: list[str] = []

    def end() -> None:
        if paragraph:
            made.extend(_paragraph(paragraph, parameters, owned))
            paragraph.clear()

    example = False
    for line in lines:
        if line.lstrip().startswith(">>>"):
            if not example:
                end()
                made.append("")
            example = True
        if example and line.strip():
            made.append(line)
        elif not line.strip():
            end()
            made.append("")
            example = False
        else:
            paragraph.append(line.strip())
    end()
    return made


def _paragraph(lines: Sequence[str], parameters: Sequence[str], owned: Mapping[str, str]) -> list[str]:
    """One paragraph: what stands before the first form is prose, each form is a field up to the next."""
    text = " ".join(lines)
    named = "|".join(map(re.escape, parameters)) or r"(?!)"
    form = re.compile(rf"(?:^|(?<=[.;:)] ))(?:((?:{named})(?:, (?:{named}))*): |(Raises) |(Sources?): )")
    found = list(form.finditer(text))
    made = []
    begin = text[: found[0].start()] if found else text
    if begin.strip():
        made += [escaped(begin.strip(), owned), ""]
    for match, following in zip(found, [*found[1:], None]):
        body = escaped(text[match.end() : following.start() if following else None].strip(), owned)
        if match[1]:
            made += (
                [f":param {name.strip()}: {body}" for name in match[1].split(",")[:1]]
                if "," not in match[1]
                else [f":param {match[1].replace(', ', '/')}: {body}"]
            )
        elif match[2]:
            made.append(f":raises: {body}")
        else:
            made.append(f":source: {body}")
    return [*made, ""]


def escaped(text: str, owned: Mapping[str, str]) -> str:
    """Prose in which only code in backticks means anything: a link to a public name, or code."""
    parts = re.split(r"`+([^`]+)`+", text)
    made = []
    for index, part in enumerate(parts):
        if index % 2 == 0:
            made.append(re.sub(r"([\\*_|`])", r"\\\1", part))
        else:
            name = re.match(r"(\w+)$", part)
            full = owned.get(name[1]) if name else None
            made.append(f"\\ :py:obj:`{part} <{full}>`\\ " if full else f"\\ ``{part}``\\ ")
    return "".join(made).strip()


def fields_of(source: str, name: str) -> list[tuple[str, str]]:
    """The fields of a dataclass with the comments behind them, from the source of its module."""
    body = re.search(rf"^class {name}\b.*?(?=^\S|\Z)", source, re.DOTALL | re.MULTILINE)
    return re.findall(r"^    ([a-z]\w*): [^#\n]*?# (.*)$", body[0], re.MULTILINE) if body else []


def text_below(source: str, name: str) -> str:
    """The text that stands below the value of a name in a source, which says what it is; empty if none does."""
    body = ast.parse(source).body
    for node, below in pairwise(body):
        named = isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name
        if named and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            return inspect.cleandoc(below.value.value)
    return ""


def source_of(module: str) -> str:
    """All source of a module, a file or a folder."""
    file = PACKAGE / f"{module}.py"
    paths = [file] if file.exists() else sorted((PACKAGE / module).rglob("*.py"))
    return "\n".join(path.read_text() for path in paths)
