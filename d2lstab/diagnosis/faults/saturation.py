"""Activations that are flat almost everywhere."""

from ..findings import Finding
from ..measurements import Measurements
from ..repairs import normalized, reinitialized

# Mean Σ p²: of logits of 1/√d it is 0.1 to 0.4. Transformers that begin at 0.97 sometimes never train; those that begin
# at 0.8 with logits of standard deviation 11 are at 43 % when others are at 95 %.
_SHARP, _LARGE = 0.78, 5.0


def saturated(evidence: Measurements) -> Finding | None:
    """Bounded activations, or attention, that are flat almost everywhere."""
    return _activations(evidence) or _attention(evidence)


def _attention(evidence: Measurements) -> Finding | None:
    """Attention of which each query looks at a single key, by the size of its logits alone."""
    gazes = [(gaze, float(gaze.sharpness)) for gaze in evidence.gazes]
    sharp = [each for each in gazes if each[1] > _SHARP and float(each[0].size) > _LARGE]
    if not sharp or len(sharp) < len(gazes) / 3:
        return None
    gaze, sharpness = sharp[0]
    return Finding(
        "saturated",
        gaze.layer,
        f"attention has logits of standard deviation {float(gaze.size):.2g}, so the softmax is at an end for nearly every "
        f"query, in {len(sharp)} of {len(gazes)} calls: Σ p² over {gaze.keys} keys is {sharpness:.2f}, "
        f"near {1 / gaze.keys:.2g} is expected",
        "nn.init.xavier_uniform_ for the weights of queries and keys, logits over sqrt(width of a head), or both normalized",
        sharpness,
        1 / gaze.keys,
        severity="fault" if evidence.trains < 0.5 else "warning",
    )


def _activations(evidence: Measurements) -> Finding | None:
    """Bounded activations of which most entries are on their flat part."""
    rows = [
        row for row in evidence.rows if row.kind in ("Sigmoid", "Tanh", "Hardtanh", "Hardsigmoid", "Softsign", "RNN")
    ]
    if rows and rows[-1] is evidence.rows[-1] and evidence.loss < evidence.chance:
        rows = rows[:-1]  # answers that are sure and right
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
