"""What the length of a sequence does to gradients."""

from math import isfinite, prod, sqrt

from ...recording import SignalRow
from ..findings import Finding
from ..measurements import Measurements
from ..repairs import reinitialized

_MOST_GROWTH = 1e3
MOST_FELT = 10  # relative change of the loss per relative change of one time step
RECURRENT_REMEDY = (
    "nn.init.orthogonal_ for the recurrent weight (with ReLU nn.init.eye_), nn.LSTM or nn.GRU; nn.utils.clip_grad_norm_"
)
_LEAST = 1e-4  # of the largest gradient: what is less is not heard


def growing(evidence: Measurements) -> Finding | None:
    """Recurrent layers through which gradients grow by orders of magnitude, from step to step."""
    for row in _recurrent(evidence):
        growth = sqrt(max(row.time) / max(min(row.time[0], row.time[-1]), 1e-300))
        if growth > _MOST_GROWTH and _felt(evidence, row) > MOST_FELT:
            return Finding(
                "exploding",
                row.label,
                f"from one end of {len(row.time)} time steps to the other the gradient grows {growth:.2g}-fold; "
                "about the same size is expected",
                RECURRENT_REMEDY,
                growth,
                1.0,
                repairs=(reinitialized,),
            )
    return None


def forgetting(evidence: Measurements) -> Finding | None:
    """Recurrent layers whose loss does not feel the early time steps."""
    for row in _recurrent(evidence):
        if len(row.time) < 20 or _felt(evidence, row) > MOST_FELT:  # where much is felt, one end explodes
            continue
        steps = row.time if row.time[-1] >= row.time[0] else row.time[::-1]
        reach = next(index for index, value in enumerate(steps) if value > _LEAST**2 * max(steps))
        if reach >= 0.5 * len(steps):
            return Finding(
                "vanishing",
                row.label,
                f"the loss feels the last {len(steps) - reach} of {len(steps)} time steps: at the first the gradient is "
                f"{sqrt(steps[0] / max(steps)):.1g} of the largest; all steps are expected to count",
                "nn.LSTM with its forget bias at 1 or more, an orthogonal or identity recurrent weight, or shorter sequences",
                sqrt(steps[0] / max(steps)),
                1.0,
            )
    return None


def _recurrent(evidence: Measurements) -> list[SignalRow]:
    """The rows whose gradients were measured for each time step, and are not all 0."""
    return [row for row in evidence.seen_again if row.time and max(row.time) > 0 and isfinite(max(row.time))]


def _felt(evidence: Measurements, row: SignalRow) -> float:
    """‖g‖ ‖x‖ over the loss, for the time step at which it is largest."""
    rows, module = evidence.seen_again, evidence.modules.get(row.name)
    if row.source is None:
        size = evidence.input_moment * getattr(module, "input_size", 1) * (evidence.samples or 1)
    else:
        size = rows[row.source].moment * prod(rows[row.source].shape) / len(row.time)
    return sqrt(max(row.time) * size) / evidence.scale
