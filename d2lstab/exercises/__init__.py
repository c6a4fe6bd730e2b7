"""Answers that check themselves: feedback on the chapters' exercises."""

from . import (
    diagnosis,
    floats,
    gradients,
    monitoring,
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
    "diagnosis",
    "floats",
    "gradients",
    "monitoring",
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
