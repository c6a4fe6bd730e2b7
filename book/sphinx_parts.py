"""What Sphinx does for this site beside what its extensions do: links of names, docstrings as prose."""

import inspect
import re
from functools import cache
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from d2lstab.signatures import ARGUMENTS

from .chapters import FOLDER, read
from .names import PACKAGE, imported, known_name, modules, owners
from .reference import escaped, fields_of, restructured, source_of, text_below


@cache
def owned() -> dict[str, str]:
    return owners(modules())


class LinkNames(SphinxTransform):
    """Inline code that is a public name becomes a link to its entry."""

    default_priority = 200

    def apply(self, **_: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            full = known_name(literal.astext(), owned())
            inside = literal.parent
            while inside is not None and not isinstance(inside, (nodes.reference, addnodes.pending_xref, nodes.title)):
                inside = inside.parent
            if full is None or inside is not None:
                continue
            link = addnodes.pending_xref(
                "",
                literal.deepcopy(),
                refdomain="py",
                reftype="obj",
                reftarget=full,
                refexplicit=True,
                refwarn=True,
            )
            link["refdoc"] = self.env.current_document.docname
            literal.replace_self(link)


def docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """The docstring as it is written here, told to Sphinx; of a dataclass its fields too, of a catalogue its keys."""
    if what == "data":
        described = "; ".join(f"{key!r}" for key in thing) if isinstance(thing, dict) else ""
        text = text_below_value(name) or "A catalogue."
        lines[:] = [*restructured(text.splitlines(), [], owned()), "", "Its keys are: " + escaped(described, {}) + "."]
        return
    lines[:] = restructured(said_itself(lines), parameters(thing), owned())
    if what == "class":
        module = name.split(".")[1]
        lines += [
            f":ivar {field}: {escaped(text, owned())}"
            for field, text in fields_of(source_of(module), name.rpartition(".")[2])
        ]


def said_itself(lines: list[str]) -> list[str]:
    """The lines of a docstring without those that all checked functions have: the index of the reference has them once."""
    return "\n".join(lines).replace(ARGUMENTS, "").splitlines()


def text_below_value(full: str) -> str:
    """What stands below a catalogue in the source of its module."""
    _, module, name = full.split(".")
    file = PACKAGE / f"{module}.py"
    paths = [file] if file.exists() else sorted((PACKAGE / module).rglob("*.py"))
    return next(filter(None, (text_below(path.read_text(), name) for path in paths)), "")


def parameters(thing: Any) -> list[str]:
    try:
        return [each for each in inspect.signature(thing).parameters if each not in ("self", "args", "kwargs")]
    except (TypeError, ValueError):
        return []


def link_code(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """In the code of a chapter, each name that it imports from the package becomes a link to its entry."""
    path = FOLDER / f"{pagename.rpartition('/')[2]}.ipynb"
    if not pagename.startswith("chapters/") or not path.exists() or "body" not in context:
        return
    local: dict[str, str] = {}
    for cell in read(path).notebook.cells:
        if cell.cell_type == "code":
            local |= imported(cell.source)
    links = {
        name: app.builder.get_relative_uri(pagename, f"reference/{owned()[called].split('.')[1]}")
        + f"#{owned()[called]}"
        for name, called in local.items()
        if called in owned()
    }
    context["body"] = re.sub(
        r'<span class="(n|nf|nc)">(\w+)</span>',
        lambda span: f'<a class="name" href="{links[span[2]]}">{span[0]}</a>' if span[2] in links else span[0],
        context["body"],
    )


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(LinkNames)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("html-page-context", link_code)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
