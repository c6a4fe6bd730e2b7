"""Near inputs that are driven apart."""

from torch import nn

from ..evidence import Evidence
from ..expectation import scale_advice, scales
from ..findings import Finding

# Layers at the edge of chaos have about 1, sine networks for fine detail 5, and what has forgotten nearness 900.
_MOST_STRAYED = 8
# Where weights are far too large for a bounded activation: narrow tanh networks at 4 know 60 % of the digits held out
# after 500 steps, instead of 90 %.
_MOST_STRAYED_OF_LARGE = 3
_BOUNDED = ("Tanh", "Hardtanh", "Softsign")


def chaotic(evidence: Evidence) -> Finding | None:
    """Outputs that a tiny change of the inputs throws about: a batch can be learnt by heart, and says nothing of others."""
    # Batch normalization drives samples apart whatever the weights' scale (ResNet-50: 100), and trains all the same.
    if any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in evidence.modules.values()):
        return None
    if not evidence.strayed > (_MOST_STRAYED_OF_LARGE if _large(evidence) else _MOST_STRAYED):
        return None
    measured, remedy = scale_advice(evidence)
    return Finding(
        "chaotic",
        "",
        f"where inputs move by a thousandth of the way to another sample, outputs move by {evidence.strayed:.2g} thousandths "
        f"of their size; about 1 is expected{measured}",
        remedy,
        evidence.strayed,
        1.0,
        severity="fault" if evidence.trains < 0.5 else "warning",
        repairs=evidence.redrawn,
    )


def _large(evidence: Evidence) -> bool:
    """Whether most hidden weights are far larger than at the edge of chaos of a bounded activation."""
    kind, hidden = scales(evidence)
    return kind in _BOUNDED and 2 * sum(scale > 2.5 for *_, scale in hidden) > len(hidden)
