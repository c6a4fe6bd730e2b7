"""Answers that check themselves: feedback on the chapters' exercises."""

from . import gradients, products, slopes
from .judging import EXERCISES, check

__all__ = ["EXERCISES", "check", "gradients", "products", "slopes"]
