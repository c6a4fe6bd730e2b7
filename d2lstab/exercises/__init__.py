"""Answers that check themselves: feedback on the chapters' exercises. Each module of this folder enters its own."""

from importlib import import_module
from pkgutil import iter_modules

from .judging import check

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")

__all__ = ["check"]
