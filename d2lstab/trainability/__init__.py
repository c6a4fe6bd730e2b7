"""Which networks learn: a plane of scales by experiment, and a forecast for one network from a look at its start."""

from .forecast import Trainability
from .phase_map import TrainabilityMap, trainability_map

__all__ = ["Trainability", "TrainabilityMap", "trainability_map"]
