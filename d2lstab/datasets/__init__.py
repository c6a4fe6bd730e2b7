"""Real data that needs no download, and problems made for memory."""

from .bundled import characters, digits, photographs
from .dataset import Dataset
from .sequences import adding_problem, copy_problem

__all__ = ["Dataset", "adding_problem", "characters", "copy_problem", "digits", "photographs"]
