"""Answers that check themselves: feedback on the chapters' exercises."""

from . import gradients, phases, products, scales, slopes
from .judging import EXERCISES, check

__all__ = ["EXERCISES", "check", "gradients", "phases", "products", "scales", "slopes"]
