"""Rectifiers that are off for every sample."""

from ...recording.functional import RECTIFIERS
from ..evidence import Evidence
from ..findings import Finding
from ..measurements import Measurements
from ..repairs import revived

_NAMES = {kind.__name__ for kind in RECTIFIERS}


def dead(evidence: Measurements) -> Finding | None:
    """A rectifier of which nearly every unit is off for the whole batch."""
    rows = [row for row in evidence.seen_again if row.kind in _NAMES and row.dead >= 0.95]
    if not rows:
        return None
    row, rest = rows[0], len(rows) - 1
    more = f", and {rest} rectifiers behind it" if rest else ""
    stopped = not evidence.spread_of_outputs > 0
    return Finding(
        "dead",
        row.label,
        f"{row.dead:.0%} of the units are 0 for all samples{more}; about half of the entries are expected to be",
        "nn.init.kaiming_normal_(weight) and nn.init.zeros_(bias) in the layer before it, or a leaky ReLU; "
        "no ReLU on the outputs of a regression",
        measured=row.dead,
        expected=0.5,
        severity="fault" if stopped else "warning",
        repairs=(revived(row.name),),
    )


def cut_classes(evidence: Evidence) -> Finding | None:
    """A rectifier as last layer of a classifier: the class it cuts off gets no gradient."""
    last, targets, output = evidence.rows[-1], evidence.subject.targets, evidence.first.output
    if (
        last.kind not in ("ReLU", "ReLU6")
        or not _are_classes(targets)
        or output is None
        or last.shape != tuple(output.shape)
    ):
        return None
    zeros = float((output == 0).double().mean())
    if zeros < 0.2:
        return None
    return Finding(
        "dead",
        last.label,
        f"a ReLU makes {zeros:.0%} of the class scores exactly 0, where they have no gradient; none are expected to be",
        "drop the ReLU after the last layer and give its outputs to nn.CrossEntropyLoss",
        measured=zeros,
        expected=0.0,
        repairs=(revived(last.name),),
    )


def _are_classes(targets) -> bool:
    return hasattr(targets, "is_floating_point") and not targets.is_floating_point()
