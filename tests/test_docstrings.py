"""The examples in the docstrings print what they say, and those that people import first have one."""

import importlib
import inspect
import pkgutil
from doctest import DocTestFinder, DocTestRunner

import pytest
import torch
from torch import nn

import d2lstab
from tests.public import PUBLIC

EXTRAS = {"d2lstab.lightning", "d2lstab.transformers"}
NAMES = [name for _, name, _ in pkgutil.walk_packages(d2lstab.__path__, "d2lstab.") if name not in EXTRAS]
# What a reader of an example has imported; not what the module around it happens to import.
READER = {"torch": torch, "nn": nn, **PUBLIC}
EXAMPLES = {
    example.name.rpartition(".")[2]: example
    for module in map(importlib.import_module, NAMES)
    for thing in vars(module).values()
    if getattr(thing, "__module__", None) == module.__name__ and (inspect.isroutine(thing) or inspect.isclass(thing))
    for example in DocTestFinder(recurse=False).find(thing, globs=dict(READER))
    if example.examples
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_prints_what_it_says(example):
    assert DocTestRunner().run(example).failed == 0


def test_what_people_import_first_has_an_example():
    assert {"Monitor", "claim", "depth_sweep", "diagnose", "initialize_", "isometry", "record", "train"} <= set(
        EXAMPLES
    )
