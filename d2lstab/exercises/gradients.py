"""Exercises of chapter 01: a gradient is a product."""

import torch
from torch import Tensor

from ..floats import describe
from ..initializers import xavier_normal_
from ..jacobians import input_jacobian, layer_jacobians
from ..networks import mlp
from ..randomness import normal, seeded
from .judging import close, exercise


@exercise("01.1")
def _product_of_jacobians(answer) -> str | None:
    network = mlp([6, 7, 5, 3], torch.tanh, initializer=xavier_normal_, dtype=torch.float64)
    x = normal(6, generator=seeded(1), dtype=torch.float64)
    given = answer(layer_jacobians(network, x))
    expected = input_jacobian(network, x)
    if not isinstance(given, Tensor) or given.shape != expected.shape:
        return f"your function returned {getattr(given, 'shape', type(given))}; ∂o/∂h⁽⁰⁾ has as many rows as o and columns as h⁽⁰⁾."
    return (
        None if torch.allclose(given, expected) else "the shape is right, the entries are not. Which factor acts first?"
    )


@exercise("01.2")
def _gradient_at_layer_3(answer) -> str | None:
    return close(answer, 0.8**17, 1e-3, "Count the factors M⁽²⁰⁾ … M⁽⁴⁾; every singular value of each is 0.8.")


@exercise("01.3")
def _layer_lost_in_half_precision(answer) -> str | None:
    limit, gradient, layer = describe(torch.float16).min_subnormal / 2, 0.01, 40
    while gradient > limit:
        gradient, layer = gradient * 0.6, layer - 1
    return close(answer, layer, 0, "Below half of the smallest subnormal a number rounds to 0.")
