"""One rule per fault, in the order in which one fault causes another: the first that is found is the root."""

from collections.abc import Callable

from ..evidence import Evidence
from ..findings import Finding
from .balance import imbalanced
from .chaotic import chaotic
from .death import cut_classes, dead
from .depth import exploding, untrainable, vanishing
from .mixing import mixed_samples
from .modes import modes_differ
from .non_finite import non_finite
from .normalization import batch_statistics
from .pairing import target_shape
from .precision import overflow, underflow
from .saturation import saturated
from .scale import input_scale, output_scale, target_scale
from .singular import singular
from .squashing import squashed_twice, unsquashed
from .steps import step_too_large, step_too_small
from .symmetry import symmetric
from .time import forgetting
from .unread import unread
from .untrained import cut_off, untrained
from .upsampling import checkerboard

__all__ = ["LAST_RULES", "RULES", "Rule"]

Rule = Callable[[Evidence], Finding | None]

RULES: tuple[Rule, ...] = (
    non_finite,
    overflow,
    underflow,
    untrained,
    target_shape,
    squashed_twice,
    unsquashed,
    mixed_samples,
    symmetric,
    dead,
    cut_classes,
    batch_statistics,
    target_scale,
    input_scale,
    saturated,
    exploding,
    vanishing,
    forgetting,
    output_scale,
    step_too_large,
    step_too_small,
    checkerboard,
    modes_differ,
    imbalanced,
    singular,
)

# Asked where these find nothing.
LAST_RULES: tuple[Rule, ...] = (cut_off, unread, untrainable, chaotic)
