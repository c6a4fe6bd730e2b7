"""Failures that people reported, rebuilt without a look at the rules of `diagnose`: each as it came and mended."""

from experiments.blind import agents, generators, pictures, relations, sequences, steps  # noqa: F401  which enter theirs
from experiments.blind.case import CASES, Case, Run

__all__ = ["CASES", "Case", "Run"]
