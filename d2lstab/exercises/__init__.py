"""Answers that check themselves: feedback on the chapters' exercises."""

from . import (
    floats,
    gradients,
    normalization,
    optimizers,
    phases,
    products,
    remedies,
    scales,
    sequences,
    slopes,
    transformers,
)
from .judging import EXERCISES, check

__all__ = [
    "EXERCISES",
    "check",
    "floats",
    "gradients",
    "normalization",
    "optimizers",
    "phases",
    "products",
    "remedies",
    "scales",
    "sequences",
    "slopes",
    "transformers",
]
