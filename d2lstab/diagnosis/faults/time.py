"""What the length of a sequence does to gradients."""

from ..evidence import Evidence
from ..findings import Finding


def forgetting(evidence: Evidence) -> Finding | None:
    """Recurrent layers whose loss does not feel the early time steps."""
    for row in evidence.look.signals.rows:
        if len(row.time) < 20 or max(row.time) <= 0:
            continue
        steps = row.time if row.time[-1] >= row.time[0] else row.time[::-1]
        reach = next(index for index, value in enumerate(steps) if value > 1e-8 * max(steps))
        if reach >= 0.5 * len(steps):
            return Finding(
                "vanishing",
                row.label,
                f"the loss feels the last {len(steps) - reach} of {len(steps)} time steps: at the first the gradient is "
                f"{(steps[0] / max(steps)) ** 0.5:.1g} of the largest; all steps are expected to count",
                "nn.LSTM with its forget bias at 1 or more, an orthogonal or identity recurrent weight, or shorter sequences",
                (steps[0] / max(steps)) ** 0.5,
                1.0,
            )
    return None
