"""Failures that people reported, 2016 to 2026, rebuilt small: each as it came and mended."""

from experiments.cases import answers, depths, loops  # noqa: F401  which enter theirs
from experiments.cases.case import CASES, Case, Run

__all__ = ["CASES", "Case", "Run"]
