"""Docstrings keep their word: they say what is raised and what is taken, and their examples print what they say."""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from doctest import DocTestFinder, DocTestParser, DocTestRunner
from functools import cache
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

import d2lstab
from d2lstab.initializers import Initializer
from d2lstab.signatures import ARGUMENTS
from tests.public import PUBLIC

EXTRAS = {"d2lstab.lightning", "d2lstab.transformers"}
NAMES = [name for _, name, _ in pkgutil.walk_packages(d2lstab.__path__, "d2lstab.") if name not in EXTRAS]
MODULES = [d2lstab, *map(importlib.import_module, NAMES)]
# What a reader of an example has imported; not what the module around it happens to import.
READER = {"torch": torch, "nn": nn, **PUBLIC}


def own(function: Callable) -> Callable:
    """The function below its decorators."""
    return inspect.unwrap(getattr(function, "fget", None) or getattr(function, "__func__", None) or function)


def methods(kind: type) -> Iterator[tuple[str, Callable]]:
    """The public methods and properties that a class defines itself."""
    for name, thing in vars(kind).items():
        if not name.startswith("_") and inspect.isfunction(own(thing)):
            yield name, own(thing)


OFFERED = {name: thing for name, thing in PUBLIC.items() if getattr(thing, "__module__", "").startswith("d2lstab")}
FUNCTIONS = {name: own(thing) for name, thing in OFFERED.items() if inspect.isroutine(thing)}
CLASSES = {name: thing for name, thing in OFFERED.items() if inspect.isclass(thing)}
METHODS = {f"{name}.{method}": thing for name, kind in CLASSES.items() for method, thing in methods(kind)}
CALLABLES = FUNCTIONS | METHODS


@pytest.mark.parametrize("name", CALLABLES | CLASSES)
def test_everything_public_says_what_comes_back(name):
    kind, _, method = name.partition(".")
    assert inspect.getdoc(getattr(OFFERED[kind], method) if method else OFFERED[kind])  # a method may have torch's text


@cache
def tree(path: str) -> dict[str, ast.AST]:
    """The functions at the top of a file, by name."""
    return {node.name: node for node in ast.parse(Path(path).read_text()).body if isinstance(node, ast.FunctionDef)}


def raised(node: ast.AST, near: dict[str, ast.AST], seen: frozenset[str] = frozenset()) -> set[str]:
    """The exceptions that code raises by name, itself or through private functions of the same file."""
    found = set()
    for inside in ast.walk(node):
        if isinstance(inside, ast.Raise) and inside.exc is not None:
            kind = inside.exc.func if isinstance(inside.exc, ast.Call) else inside.exc
            found |= {kind.id} if isinstance(kind, ast.Name) and kind.id.endswith("Error") else set()
        called = inside.func.id if isinstance(inside, ast.Call) and isinstance(inside.func, ast.Name) else ""
        if called.startswith("_") and called in near and called not in seen:
            found |= raised(near[called], near, seen | {called})
    return found


def told(function: Callable) -> set[str]:
    """The exceptions that a docstring names, and those of the functions whose errors it says are meant."""
    text = function.__doc__ or ""
    clauses = re.findall(r"Raises (?:[^.]|\.(?=\w))*?what ((?:`\w+`[, and\n]*)+)raise", text)
    meant = [
        KNOWN[name] for clause in clauses for name in re.findall(r"\w+(?=`)", clause)
    ]  # KeyError: there is no such
    return set(re.findall(r"\w+Error", text)).union(*map(told, meant))


KNOWN = {name: own(thing) for module in MODULES for name, thing in vars(module).items() if inspect.isroutine(thing)}


@pytest.mark.parametrize("name", CALLABLES)
def test_what_is_raised_is_told(name):
    function = CALLABLES[name]
    body = ast.parse(textwrap.dedent(inspect.getsource(function)))
    assert raised(body, tree(function.__code__.co_filename)) <= told(function)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_shows_what_is_said_once_of_all_arguments(name):
    shown = inspect.getdoc(PUBLIC[name])
    if inspect.signature(PUBLIC[name]).parameters:
        assert ARGUMENTS in shown or {"TypeError", "ValueError"} <= told(
            FUNCTIONS[name]
        )  # or it checks all of them itself
    assert shown.startswith(inspect.cleandoc(FUNCTIONS[name].__doc__).splitlines()[0])


# Arguments that mean the same wherever they are taken: the package's own docstring says what.
COMMON = {
    name
    for names in re.findall(r"(?:^|\. )(\w+(?:, \w+)*): ", d2lstab.__doc__, re.MULTILINE)
    for name in [*names.split(", "), "seeds"]
}
MADE = {
    name: kind
    for name, kind in CLASSES.items()
    if "__init__" in vars(kind) and not is_dataclass(kind) and kind is not Initializer
}


@pytest.mark.parametrize("name", CALLABLES | MADE)
def test_what_is_taken_is_told(name):
    thing = (CALLABLES | MADE)[name]
    taken = [each for each in inspect.signature(thing).parameters if each not in ("self", "_")]
    assert [each for each in taken if each not in COMMON and not re.search(rf"\b{each}\b", thing.__doc__)] == []


@pytest.mark.parametrize("name", [name for name, kind in CLASSES.items() if is_dataclass(kind)])
def test_the_fields_of_a_result_are_told(name):
    kind = CLASSES[name]
    source = inspect.getsource(kind)
    for field in fields(kind):
        commented = re.search(rf"^    {field.name}: .*#", source, re.MULTILINE)
        assert field.name.startswith("_") or commented or re.search(rf"\b{field.name}\b", kind.__doc__), field.name


def entries(source: str) -> Iterator[tuple[str, str]]:
    """The names that a file gives values, each with the text that stands below it."""
    body = ast.parse(source).body
    for node, below in pairwise(body):
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(text, str):
            yield node.target.id, inspect.cleandoc(text)


FOUND = [
    example
    for module in MODULES
    for thing in vars(module).values()
    if getattr(thing, "__module__", None) == module.__name__ and (inspect.isroutine(thing) or inspect.isclass(thing))
    for example in DocTestFinder(recurse=False).find(thing, globs=dict(READER))
] + [
    DocTestParser().get_doctest(text, dict(READER), name, module.__file__, 0)
    for module in MODULES
    for name, text in entries(inspect.getsource(module))
]
EXAMPLES = {example.name.rpartition(".")[2]: example for example in FOUND if example.examples}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_prints_what_it_says(example):
    assert DocTestRunner().run(example).failed == 0
    plt.close("all")


# Another name of a type, for annotations: there is nothing to call, and no place for a docstring of its own.
ALIASES = {"Activation"}


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - ALIASES))
def test_every_public_name_has_an_example(name):
    assert name in EXAMPLES
