"""Watch any model while it runs."""

from .recorder import record
from .signals import SignalRow, Signals

__all__ = ["SignalRow", "Signals", "record"]
