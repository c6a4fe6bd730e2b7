"""Inputs, targets and outputs of another size than a network expects."""

from math import isnan, sqrt

from torch import Tensor

from ...initializers import fans
from ...recording import SignalRow
from ..answers import asked_of_bernoulli, spread
from ..evidence import Evidence
from ..expectation import LAYERS, mean_square
from ..findings import Finding
from ..repairs import answering, output_rescaled, standardized

_BOUNDED = {
    "Sigmoid": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Softmax": (0.0, 1.0),
    "ReLU": (0.0, float("inf")),
    "ReLU6": (0.0, 6.0),
}
_ANYWHERE = (-float("inf"), float("inf"))
_ARITHMETIC = ("Mul", "Div", "Add", "Sub", "Neg", "Addcmul")  # the operations that made an output

_NO_SHARE = 1e-3  # of the targets: rounding and padding
_LARGE = 10  # the size of targets from which on a network without the last activation still has far to go
_HOPELESS = 500  # a first loss so many times that of a constant answer is rarely recovered from


def target_scale(evidence: Evidence) -> Finding | None:
    """Targets that are no probabilities, that the last activation cannot reach, or thousands of times the outputs."""
    return _no_probabilities(evidence) or _out_of_reach(evidence)


def _no_probabilities(evidence: Evidence) -> Finding | None:
    """Targets of a binary cross-entropy beyond 0 and 1, where it has no least value: the larger the answer, the less."""
    given = asked_of_bernoulli(evidence.subject, evidence.first.outputs)
    beyond = max((float(((each < -1e-6) | (each > 1 + 1e-6)).double().mean()) for each in given), default=0.0)
    if beyond < _NO_SHARE:
        return None
    largest = max(float(each.max()) for each in given)
    return Finding(
        "target_scale",
        evidence.rows[-1].label if evidence.rows else "",
        f"{beyond:.1%} of the targets of a binary cross-entropy lie outside [0, 1], up to {largest:g}; for these the loss falls "
        "without an end, whatever the others say",
        "targets = (targets > 0).float() for a mask; targets / 255 for bytes",
        beyond,
        0.0,
    )


def _out_of_reach(evidence: Evidence) -> Finding | None:
    """Targets that the output's activation cannot reach, or thousands of times larger than the outputs."""
    targets, output = evidence.subject.targets, evidence.first.output
    if (
        not isinstance(targets, Tensor)
        or not targets.is_floating_point()
        or output is None
        or output.shape != targets.shape
    ):
        return None
    last, remedy = evidence.rows[-1], "train on (targets - targets.mean()) / targets.std()"
    # What is multiplied or shifted after an activation goes beyond its range.
    bounded = last.shape == tuple(output.shape) and not evidence.first.maker.startswith(_ARITHMETIC)
    low, high = _BOUNDED.get(last.kind, _ANYWHERE) if bounded else _ANYWHERE
    beyond = float(((targets < low - 1e-6) | (targets > high + 1e-6)).double().mean())
    size = float(targets.double().square().mean().sqrt())
    if beyond > 0.05:
        far = f", and {remedy}" if size > _LARGE else ""
        return Finding(
            "target_scale",
            last.label,
            f"{beyond:.0%} of the targets lie outside [{low:g}, {high:g}], which is all that a {last.kind} can say; 0 % expected",
            f"drop the {last.kind} after the last layer{far}",
            beyond,
            0.0,
            repairs=(answering(targets),),
        )
    usual = max(1.0, float(output.double().square().mean().sqrt()))
    if size < 1000 * usual:
        return None
    std = max(float(targets.double().std()), 1e-300)
    remedy += f"; repaired() multiplies the outputs by {std:.2g} instead, and SGD then takes its lr over {std**2:.1g}"
    return Finding(
        "target_scale",
        "",
        f"targets have size {size:.3g}, outputs {usual:.3g}; about the same is expected",
        remedy,
        size,
        usual,
        repairs=(answering(targets),),
    )


def input_scale(evidence: Evidence) -> Finding | None:
    """Inputs of a size, or an offset, that the network feels: nothing normalizes them on the way to the outputs."""
    x, rows = evidence.input, evidence.seen_again
    if x is None or not rows:
        return None
    size = float(x.double().square().mean().sqrt())
    moving = spread(x, evidence.subject.batch)
    felt = evidence.sensitivity(rows[0])
    too_large = (size > 20 and (felt > 40 or _above_chance(evidence) > 5)) or (size > 5 and felt > 80)
    too_large = too_large or (size > 20 and _flattens(evidence))
    too_small = size < 0.05 and (rows[0].variation < 0.1 or felt < 0.05)
    off_centre = moving < 0.15 and size > 1 and rows[0].variation < 0.1
    if not (too_large or too_small or off_centre):
        return None
    offset = float(x.double().mean())
    return Finding(
        "input_scale",
        rows[0].label,
        f"inputs have mean {offset:.3g} and root mean square {size:.3g}; 0 and about 1 are expected",
        "inputs = (inputs - inputs.mean(0)) / inputs.std(0).clamp(min=1e-6), with the training set's mean and std",
        size,
        1.0,
        severity="fault" if _above_chance(evidence) > _HOPELESS or not too_large else "warning",
        repairs=()
        if evidence.first.derives or evidence.subject.own_leaves
        else (standardized(x),),  # d/dx would change
    )


def _flattens(evidence: Evidence) -> bool:
    """Whether the first activation is flat for most inputs, by their size: its layer has weights of the usual one."""
    if len(evidence.rows) < 2:
        return False
    first, then = evidence.rows[:2]
    layer = evidence.layers.get(first.name)
    return isinstance(layer, LAYERS) and mean_square(layer.weight) * fans(layer).fan_in < 1.5 and then.saturated > 0.5


def output_scale(evidence: Evidence) -> Finding | None:
    """A first loss far above that of a constant answer, by the last layer's doing, or so far that little else is left."""
    ratio = _above_chance(evidence)
    # Residual networks without a factor, whose signals double from block to block, train well from tens of times chance.
    if not ratio > (5 if _amplified(evidence.rows) or evidence.trains < 0.5 else 50):
        return None
    last, output = evidence.rows[-1], evidence.first.output
    size = sqrt(last.moment) if output is None else float(output.double().square().mean().sqrt())
    return Finding(
        "output_scale",
        last.label,
        f"the first loss is {evidence.first.loss:.3g}, a constant answer has {evidence.chance:.3g}; the same is expected",
        f"scale the last layer down: outputs have size {size:.3g}, 1 or less is expected",
        ratio,
        1.0,
        # Where targets are small, not outputs large, the outputs only have to shrink.
        severity="fault" if ratio > _HOPELESS and last.moment > 1 else "warning",
        # The size of a weight that a function uses, and other layers with it, is changed by hand.
        repairs=(output_rescaled(sqrt(last.moment)),) if isinstance(evidence.layers.get(last.name), LAYERS) else (),
    )


def _amplified(rows: list[SignalRow]) -> bool:
    """Whether the last layer makes more than four times as much of what it is given."""
    return len(rows) < 2 or not rows[-1].moment <= 16 * rows[-2].moment


def _above_chance(evidence: Evidence) -> float:
    if isnan(evidence.chance) or evidence.chance <= 0:
        return 0.0
    return evidence.first.loss / evidence.chance
