"""Numerical stability and initialization of deep networks: the names that most code needs, and the modules of the rest.

Some arguments mean the same wherever they are taken:

activation: an elementwise function of a tensor, such as torch.tanh; its f in formulas.
initializer: a function that fills a weight, from a `generator` of random numbers, such as `he_normal_`.
sigma_w, sigma_b: weights are drawn from N(0, sigma_w² / fan_in), biases from N(0, sigma_b²); σ_w and σ_b in formulas.
gain: by which a weight is multiplied, beside what keeps a linear signal's size.
seed: the whole number from which all random numbers come, the same on every device; seeds are one network each.
generator: the torch.Generator that numbers are drawn from, torch's global one for None.
bias: whether layers have biases.
outputs: how many a network has. kernel_size: of convolutions, odd.
dtype, device: of what is made, torch's default ones for None.
progress: whether a bar on stderr shows how far it is.
ax: the Axes to draw into, new ones for None. label: the entry in the legend. style: keywords of matplotlib's own function.
"""

from importlib import import_module

from .activations import ACTIVATIONS, slope
from .controls import live
from .coordinates import coordinate_check
from .datasets import Dataset, digits
from .diagnosis import FAULTS, diagnose
from .initializers import (
    INITIALIZERS,
    fans,
    he_normal_,
    initialize_,
    lecun_normal_,
    normal_,
    orthogonal_,
    xavier_normal_,
)
from .jacobians import isometry
from .mean_field import chi, gaussian_mean, q_star
from .monitoring import Monitor
from .networks import mlp, residual_mlp
from .plotting import alt_text, course_style, heatmap, histogram, line_with_band, new_axes, theory_line
from .processes import process_group
from .products import random_product
from .propagation import depth_sweep, network_sweep
from .randomness import seeded
from .recording import record
from .remedies import remedy_matrix
from .results import claim
from .trainability import trainability_map
from .training import train

__all__ = [
    "ACTIVATIONS", "FAULTS", "INITIALIZERS", "Dataset", "Monitor", "alt_text", "chi", "claim", "coordinate_check",
    "course_style", "depth_sweep", "diagnose", "digits", "fans", "gaussian_mean", "he_normal_", "heatmap", "histogram",
    "initialize_", "isometry", "lecun_normal_", "line_with_band", "live", "mlp", "network_sweep", "new_axes", "normal_",
    "orthogonal_", "process_group", "q_star", "random_product", "record", "remedy_matrix", "residual_mlp", "seeded",
    "slope", "theory_line", "train", "trainability_map", "xavier_normal_",
]  # fmt: skip
__version__ = "0.1.0"

# Those with names of their own, in the order in which imports point. Lightning's and others' callbacks are asked for by name.
_MODULES = (
    "plotting", "results", "processes", "activations", "controls", "floats", "randomness", "initializers", "mean_field",
    "products", "networks", "datasets", "recording", "curvature", "propagation", "jacobians", "training", "remedies",
    "diagnosis", "trainability", "coordinates", "monitoring", "exercises",
)  # fmt: skip


def __dir__() -> list[str]:
    """What completion offers: the names above, and the modules."""
    return sorted([*__all__, *_MODULES])


def __getattr__(name: str) -> object:
    """The module of this name; for a name that a module holds, an error that says which one.

    That one is an ImportError, because `from d2lstab import name` hides the text of any AttributeError.
    """
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    for module in _MODULES:
        if not name.startswith("_") and name in import_module(f".{module}", __name__).__all__:
            raise ImportError(f"d2lstab.{name}\nexpected from d2lstab.{module} import {name}", name=__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
