"""Watch a network while it trains."""

from .monitor import Monitor
from .onsets import Onset
from .signals import TrainingSignals

__all__ = ["Monitor", "Onset", "TrainingSignals"]
