"""Numerical stability and initialization of deep networks."""

from .activations import ACTIVATIONS, Activation, ActivationCurve, curve, dead_units, saturated_share, slope
from .controls import LiveFigure, live
from .coordinates import CoordinateCheck, coordinate_check
from .curvature import sharpness
from .datasets import Dataset, adding_problem, characters, copy_problem, digits, photographs
from .diagnosis import FAULTS, Diagnosis, Finding, diagnose
from .exercises import check
from .floats import (
    FLOAT_FORMATS,
    STABLE_FORMS,
    FloatFormat,
    NumberLine,
    block_round,
    describe,
    largest_loss_scale,
    lost_share,
    number_line,
    overflow_depth,
    relative_error,
    smallest_loss_scale,
    smallest_update,
    stochastic_round,
    ulp,
    underflow_depth,
)
from .initializers import (
    INITIALIZERS,
    DeepNorm,
    Fans,
    Initializer,
    chrono_,
    deepnorm,
    deepnorm_pair,
    delta_orthogonal_,
    fans,
    fixup_factor,
    forget_bias_,
    gpt2_normal_,
    half_life,
    he_normal_,
    he_uniform_,
    icnr_,
    identity_recurrent_,
    initialize_,
    initialize_recurrent_,
    lecun_normal_,
    lecun_uniform_,
    lsuv_,
    normal_,
    orthogonal_,
    residual_factor,
    tied_embedding_,
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
from .monitoring import Monitor, Onset, TrainingSignals
from .networks import (
    Attention,
    Block,
    Embedding,
    Layer,
    PreActivation,
    Reader,
    Scale,
    convnet,
    mlp,
    reader,
    residual_convnet,
    residual_mlp,
    transformer,
    upsampler,
)
from .plotting import alt_text, course_style, heatmap, histogram, line_with_band, new_axes, theory_line
from .processes import process_group
from .products import (
    LyapunovTrace,
    ProductTrace,
    critical_std,
    gaussian_lyapunov_exponents,
    lyapunov_exponents,
    lyapunov_trace,
    random_product,
)
from .propagation import Propagation, StateGradients, depth_sweep, network_sweep, propagate, state_gradients
from .randomness import normal, seeded
from .recording import SignalRow, Signals, record
from .remedies import PATIENTS, REMEDIES, Patient, RemedyMatrix, remedy_matrix
from .results import Result, claim
from .trainability import TrainabilityMap, trainability_map
from .training import History, Movement, clip_by_global_norm_, clip_by_norm_, clip_by_value_, train

__all__ = [
    "ACTIVATIONS", "FAULTS", "FLOAT_FORMATS", "INITIALIZERS", "PATIENTS", "REMEDIES", "STABLE_FORMS",
    "Activation", "ActivationCurve", "Attention", "Block", "CoordinateCheck", "Dataset", "DeepNorm",
    "DepthScales", "Diagnosis", "Embedding", "Fans", "Finding", "FloatFormat", "History", "Initializer", "Layer",
    "LiveFigure", "LyapunovTrace", "Monitor", "Movement", "NumberLine", "Onset", "Patient", "PhaseDiagram",
    "PreActivation", "ProductTrace", "Propagation", "Reader", "RemedyMatrix", "Result", "Scale", "SignalRow",
    "Signals", "Spectrum", "StateGradients", "TrainabilityMap", "TrainingSignals", "Trajectory", "adding_problem",
    "alt_text", "backward_gain", "batchnorm_gradient_factor", "block_round", "c_star", "chain", "characters", "check", "chi",
    "chrono_", "claim", "clip_by_global_norm_", "clip_by_norm_", "clip_by_value_", "convnet", "coordinate_check",
    "copy_problem", "correlation_map", "course_style", "critical_sigma_w", "critical_std", "curve", "dead_units",
    "deepnorm", "deepnorm_pair", "delta_orthogonal_", "depth_scales", "depth_sweep", "describe", "diagnose",
    "digits", "fans", "fixup_factor", "forget_bias_", "forward_gain", "gaussian_lyapunov_exponents",
    "gaussian_mean", "gpt2_normal_", "half_life", "he_normal_", "he_uniform_", "heatmap", "histogram", "icnr_",
    "identity_recurrent_", "initialize_", "initialize_recurrent_", "input_jacobian", "isometry",
    "largest_loss_scale", "layer_jacobians", "lecun_normal_", "lecun_uniform_", "line_with_band", "live",
    "lost_share", "lsuv_", "lyapunov_exponents", "lyapunov_trace", "mlp", "network_sweep", "new_axes", "normal",
    "normal_", "number_line", "orthogonal_", "overflow_depth", "phase_diagram", "photographs", "process_group",
    "propagate", "q_star", "random_product", "reader", "record", "relative_error", "remedy_matrix",
    "residual_convnet", "residual_factor", "residual_mlp", "saturated_share", "seeded", "sharpness",
    "singular_values", "slope", "smallest_loss_scale", "smallest_update", "state_gradients", "stochastic_round",
    "theory_line", "tied_embedding_", "torch_default_", "train", "trainability_map", "trajectory", "transformer",
    "ulp", "underflow_depth", "upsampler", "variance_map", "xavier_normal_", "xavier_uniform_",
]  # fmt: skip
__version__ = "0.1.0"


def __dir__() -> list[str]:
    """What completion offers: the public names, without the modules that they come from."""
    return __all__
