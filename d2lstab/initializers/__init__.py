"""Fill a weight with random numbers of the right scale; the contract is torch.nn.init's."""

from functools import partial

from .data_driven import lsuv_
from .dense import (
    gpt2_normal_,
    he_normal_,
    he_uniform_,
    lecun_normal_,
    lecun_uniform_,
    normal_,
    tied_embedding_,
    torch_default_,
    xavier_normal_,
    xavier_uniform_,
)
from .depth import DeepNorm, deepnorm, deepnorm_pair, fixup_factor, residual_factor
from .fans import Fans, fans
from .filling import Initializer, initialize_
from .orthogonal import delta_orthogonal_, orthogonal_
from .recurrent import chrono_, forget_bias_, half_life, identity_recurrent_, initialize_recurrent_
from .upsampling import icnr_

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
"""Initializers by the label that a legend has.

>>> weight = INITIALIZERS["N(0, 0.01²)"](torch.empty(100, 400), generator=seeded(0))
>>> round(float(weight.std()), 3)
0.01
"""

__all__ = [
    "INITIALIZERS",
    "DeepNorm",
    "Fans",
    "Initializer",
    "chrono_",
    "deepnorm",
    "deepnorm_pair",
    "delta_orthogonal_",
    "fans",
    "fixup_factor",
    "forget_bias_",
    "gpt2_normal_",
    "half_life",
    "he_normal_",
    "he_uniform_",
    "icnr_",
    "identity_recurrent_",
    "initialize_",
    "initialize_recurrent_",
    "lecun_normal_",
    "lecun_uniform_",
    "lsuv_",
    "normal_",
    "orthogonal_",
    "residual_factor",
    "tied_embedding_",
    "torch_default_",
    "xavier_normal_",
    "xavier_uniform_",
]
