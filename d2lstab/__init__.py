"""Numerical stability and initialization of deep networks."""

from .activations import ACTIVATIONS, Activation, ActivationCurve, curve, dead_units, saturated_share, slope
from .curvature import sharpness
from .datasets import Dataset, adding_problem, characters, copy_problem, digits, photographs
from .diagnosis import FAULTS, Diagnosis, Finding, diagnose
from .exercises import check
from .floats import (
    FLOAT_FORMATS,
    STABLE_FORMS,
    FloatFormat,
    NumberLine,
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

__version__ = "0.1.0"
