"""Small networks for tasks other than classification: healthy, badly scaled, too deep, saturated, symmetric."""

from experiments.learners.learner import LEARNERS, Learner, Task
from experiments.learners import dense, fields, recurrent  # noqa: F401, I001  which enter theirs

__all__ = ["LEARNERS", "Learner", "Task"]
