"""Exercises of chapter 09: order and chaos."""

from math import floor, sqrt

import torch

from ..mean_field import correlation_map, critical_sigma_w, depth_scales, q_star, variance_map
from .judging import close, exercise


@exercise("09.1")
def _edge_of_chaos(answer) -> str | None:
    hint = "Find q* first, then χ there; a larger σ_w has a larger χ."
    return close(answer, critical_sigma_w(torch.tanh, 0.3), 0.001, hint)


@exercise("09.2")
def _deepest_trainable(answer) -> str | None:
    expected = floor(6 * depth_scales(torch.tanh, 1.6, 0.3).correlation)
    return close(answer, expected, 0, "ξ is that of the correlation, at c* and not at 1; round down.")


@exercise("09.3")
def _dropout_at_the_edge(answer) -> str | None:
    f, sigma_b, kept = torch.tanh, 0.1, 0.9
    sigma_w = critical_sigma_w(f, sigma_b)
    q = q_star(f, sigma_w / sqrt(kept), sigma_b)
    undropped, c, before = variance_map(f, q, sigma_w, sigma_b), 1.0, 2.0
    while abs(c - before) > 1e-6:  # the slope of the map is well below 1 here: some twenty rounds
        c, before = correlation_map(f, c, q, sigma_w, sigma_b) * undropped / q, c
    return close(answer, c, 0.002, "At c = 1 the covariance is already smaller than q*; follow it from there.")
