"""Signal propagation: how the size of a signal, and of its gradient, changes with depth."""

from .layers import depth_sweep, propagate
from .moments import Propagation
from .networks import network_sweep
from .states import StateGradients, state_gradients

__all__ = ["Propagation", "StateGradients", "depth_sweep", "network_sweep", "propagate", "state_gradients"]
