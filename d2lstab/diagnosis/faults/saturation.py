"""Activations that are flat almost everywhere."""

from ..evidence import Evidence
from ..findings import Finding
from ..repairs import normalized, reinitialized


def saturated(evidence: Evidence) -> Finding | None:
    """Bounded activations of which most entries are on their flat part."""
    rows = [
        row for row in evidence.rows if row.kind in ("Sigmoid", "Tanh", "Hardtanh", "Hardsigmoid", "Softsign", "RNN")
    ]
    flat = [row for row in rows if row.saturated > 0.5]
    if not flat or len(flat) < len(rows) / 3:
        return None
    worst = max(flat, key=lambda row: row.saturated)
    return Finding(
        "saturated",
        flat[0].label,
        f"{worst.saturated:.0%} of {worst.label} has a slope below 1 % of its largest, in {len(flat)} of {len(rows)} "
        "such layers; less than 10 % is expected",
        "nn.init.xavier_normal_(weight) and zero biases, or a normalization before the activation",
        worst.saturated,
        0.1,
        repairs=(reinitialized, normalized),
    )
