"""Infinite-width theory: what a random network does to signals and gradients, computed instead of measured."""

from .fixed_points import DepthScales, c_star, critical_sigma_w, depth_scales, q_star
from .maps import backward_gain, batchnorm_gradient_factor, chi, correlation_map, forward_gain, variance_map
from .phases import PhaseDiagram, Trajectory, phase_diagram, trajectory
from .quadrature import gaussian_mean

__all__ = [
    "DepthScales",
    "PhaseDiagram",
    "Trajectory",
    "backward_gain",
    "batchnorm_gradient_factor",
    "c_star",
    "chi",
    "correlation_map",
    "critical_sigma_w",
    "depth_scales",
    "forward_gain",
    "gaussian_mean",
    "phase_diagram",
    "q_star",
    "trajectory",
    "variance_map",
]
