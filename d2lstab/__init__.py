"""Numerical stability and initialization of deep networks."""

from .activations import ACTIVATIONS, Activation, ActivationCurve, curve, dead_units, saturated_share, slope
from .datasets import Dataset, digits
from .exercises import check
from .floats import FLOAT_FORMATS, FloatFormat, describe, overflow_depth, ulp, underflow_depth
from .initializers import (
    INITIALIZERS,
    Fans,
    Initializer,
    delta_orthogonal_,
    fans,
    he_normal_,
    he_uniform_,
    initialize_,
    lecun_normal_,
    lecun_uniform_,
    lsuv_,
    normal_,
    orthogonal_,
    torch_default_,
    xavier_normal_,
    xavier_uniform_,
)
from .jacobians import Spectrum, chain, input_jacobian, isometry, layer_jacobians, singular_values
from .mean_field import (
    DepthScales,
    PhaseDiagram,
    Trajectory,
    backward_gain,
    batchnorm_gradient_factor,
    c_star,
    chi,
    correlation_map,
    critical_sigma_w,
    depth_scales,
    forward_gain,
    gaussian_mean,
    phase_diagram,
    q_star,
    trajectory,
    variance_map,
)
from .networks import (
    Block,
    Layer,
    PreActivation,
    Scale,
    convnet,
    fixup_factor,
    mlp,
    residual_convnet,
    residual_mlp,
)
from .plotting import alt_text, course_style, heatmap, histogram, line_with_band, new_axes, theory_line
from .products import (
    LyapunovTrace,
    ProductTrace,
    critical_std,
    gaussian_lyapunov_exponents,
    lyapunov_exponents,
    lyapunov_trace,
    random_product,
)
from .propagation import Propagation, depth_sweep, propagate
from .randomness import normal, seeded
from .results import Result, claim
from .training import History, Movement, clip_by_global_norm_, clip_by_norm_, clip_by_value_, train

__version__ = "0.1.0"
