"""Failures that people reported, rebuilt without a look at the rules of `diagnose`: each as it came and mended."""

from experiments.blind import agents, generators, pictures, relations, sequences, steps  # noqa: F401  which enter theirs
from experiments.blind.case import CASES, Case, Run
from experiments.blind.later import LATER  # and those of a second set, after them

__all__ = ["CASES", "LATER", "Case", "Run"]
