"""Small networks for tasks other than classification: healthy, badly scaled, too deep, saturated, symmetric."""

from experiments.learners import dense, fields, recurrent  # noqa: F401  which enter theirs
from experiments.learners.learner import LEARNERS, Learner, Task

__all__ = ["LEARNERS", "Learner", "Task"]
