"""What is wrong with a network, and what helps."""

from .diagnose import diagnose
from .findings import FAULTS, Finding
from .report import Diagnosis

__all__ = ["FAULTS", "Diagnosis", "Finding", "diagnose"]
