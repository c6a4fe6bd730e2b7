"""What a finite float can hold."""

from .depths import NumberLine, number_line, overflow_depth, underflow_depth
from .formats import FLOAT_FORMATS, FloatFormat, describe, ulp
from .scaling import largest_loss_scale, smallest_loss_scale
from .stability import STABLE_FORMS, relative_error
from .updates import block_round, lost_share, smallest_update, stochastic_round

__all__ = [
    "FLOAT_FORMATS",
    "STABLE_FORMS",
    "FloatFormat",
    "NumberLine",
    "block_round",
    "describe",
    "largest_loss_scale",
    "lost_share",
    "number_line",
    "overflow_depth",
    "relative_error",
    "smallest_loss_scale",
    "smallest_update",
    "stochastic_round",
    "ulp",
    "underflow_depth",
]
