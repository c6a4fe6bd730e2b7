"""The public names of the package, and where the chapters use them; read from the sources, without importing them."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "d2lstab"


@dataclass(frozen=True)
class Module:
    """A module of the package: its line in the README's table, its floor, and its public names."""

    name: str
    about: str
    floor: int
    names: tuple[str, ...]


def modules(root: Path = ROOT) -> list[Module]:
    """The modules in the order of the README's table."""
    readme = (root / "README.md").read_text()
    table = section(readme, "What is in the package")
    floors = {
        name: int(floor)
        for floor, drawn in re.findall(r"^(\d+) +([a-z_ ]+)$", table, re.MULTILINE)
        for name in drawn.split()
    }
    found = []
    for name, about, names in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", table, re.MULTILINE):
        told = re.findall(r"`(\w+)`", names)
        types = [each for each in exported(root / "d2lstab", name) if each not in told]
        found.append(Module(name, about, floors[name], (*told, *types)))
    return found


def exported(package: Path, module: str) -> list[str]:
    """The classes that a module offers beside what the README names: those of its file, or of its folder's __init__."""
    file = package / f"{module}.py"
    if file.exists():
        body = ast.parse(file.read_text()).body
        return [node.name for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    return [
        alias.name
        for node in ast.parse((package / module / "__init__.py").read_text()).body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
        if re.match(r"[A-Z]\w*[a-z]", alias.name)
    ]


def owners(known: list[Module]) -> dict[str, str]:
    """The full name of each public name: d2lstab, the module that owns it, the name."""
    return {name: f"d2lstab.{module.name}.{name}" for module in known for name in module.names}


def section(text: str, heading: str) -> str:
    """What stands below a heading of a Markdown text, up to the next of its level or above. Raises ValueError without it."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^(?!\1#)##? |\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"no heading {heading!r}\nexpected one of {re.findall(r'^#+ (.*)$', text, re.MULTILINE)}")
    level = len(found[1])
    return re.split(rf"^#{{1,{level}}} ", found[2], flags=re.MULTILINE)[0].strip() + "\n"


def imported(source: str) -> dict[str, str]:
    """The names that a piece of code imports from the package, each with what it is called there."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "d2lstab":
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
    return found


def used(source: str, local: Mapping[str, str]) -> Iterator[str]:
    """The names of the package that a piece of code reads: those imported, as `local` has them, and those of a module that is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in local:
            yield local[node.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in local:
            yield node.attr


def spoken(prose: str) -> Iterator[str]:
    """The names that a piece of prose has in backticks, with or without arguments."""
    for text in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose):
        name = re.match(r"(?:d2lstab\.)?(?:\w+\.)?(\w+)(?:\(.*\))?$", text)
        if name:
            yield name[1]


def known_name(text: str, owned: Mapping[str, str]) -> str | None:
    """The full name that inline code stands for: `train`, `train(...)`, `d2lstab.training.train`; or None."""
    name = re.match(r"(?:d2lstab\.(?:\w+\.)?)?(\w+)(?:\(.*\))?$", text)
    return owned.get(name[1]) if name else None
