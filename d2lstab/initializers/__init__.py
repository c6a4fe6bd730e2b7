"""Fill a weight with random numbers of the right scale; the contract is torch.nn.init's."""

from functools import partial

from .data_driven import lsuv_
from .dense import (
    he_normal_,
    he_uniform_,
    lecun_normal_,
    lecun_uniform_,
    normal_,
    torch_default_,
    xavier_normal_,
    xavier_uniform_,
)
from .fans import Fans, fans
from .filling import Initializer, draw_weight, initialize_
from .orthogonal import delta_orthogonal_, orthogonal_

INITIALIZERS: dict[str, Initializer] = {
    "N(0, 1)": normal_,
    "N(0, 0.01²)": partial(normal_, std=0.01),
    "torch default": torch_default_,
    "LeCun": lecun_normal_,
    "LeCun uniform": lecun_uniform_,
    "Xavier": xavier_normal_,
    "Xavier uniform": xavier_uniform_,
    "He": he_normal_,
    "He uniform": he_uniform_,
    "orthogonal": orthogonal_,
}

__all__ = [
    "INITIALIZERS",
    "Fans",
    "Initializer",
    "delta_orthogonal_",
    "draw_weight",
    "fans",
    "he_normal_",
    "he_uniform_",
    "initialize_",
    "lecun_normal_",
    "lecun_uniform_",
    "lsuv_",
    "normal_",
    "orthogonal_",
    "torch_default_",
    "xavier_normal_",
    "xavier_uniform_",
]
