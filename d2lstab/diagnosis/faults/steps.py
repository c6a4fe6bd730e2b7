"""Learning rates, as tried."""

from math import isfinite, isnan

from ..evidence import Evidence
from ..findings import Finding


def step_too_large(evidence: Evidence) -> Finding | None:
    """A few steps on one batch that multiply its loss, or leave outputs that no longer depend on inputs."""
    trial = evidence.trial
    if trial is None:
        return None
    known = [value for value in trial.losses if isfinite(value)]
    floor = max(trial.losses[0], evidence.chance if isfinite(evidence.chance) else trial.losses[0])
    overhauled = max(trial.update_ratio.values(), default=0) > 5  # a weight became another one in a single step
    most = 1.5 if overhauled else 10
    if not trial.exploded and max(known) < most * floor and trial.losses[-1] < 2 * floor:
        return _collapse(evidence)
    told = ", ".join(f"{value:.3g}" for value in trial.losses)
    return Finding(
        "step_too_large",
        "",
        f"with lr={trial.learning_rate:g} the loss on one batch goes {told}; a falling one is expected",
        f"lr={trial.learning_rate / 100:.1g} or less, or a warm-up",
        trial.learning_rate,
        trial.learning_rate / 100,
    )


def _collapse(evidence: Evidence) -> Finding | None:
    """Large steps after which outputs no longer tell samples apart, or that gain nothing in a deep stack that hardly does."""
    trial = evidence.trial
    if max(trial.update_ratio.values(), default=0) < 0.01:
        return None
    before, after = trial.deviations[0], trial.deviations[-1]
    known = [row.variation for row in evidence.rows if not isnan(row.variation)]
    fading = len(known) > 20 and known[-1] < 0.4 * max(known[: len(known) // 2])
    stuck = fading and trial.losses[-1] > 0.97 * evidence.chance
    if not (after < 0.1 * before or stuck):
        return None
    told = f"differ by {after:.2g} between samples, before by {before:.2g}"
    if not after < 0.1 * before:
        told = f"are no better than a constant; {known[-1]:.2g} of them differs between samples, {max(known):.2g} in early layers"
    return Finding(
        "step_too_large",
        "",
        f"after {len(trial.losses) - 1} steps with lr={trial.learning_rate:g} the outputs {told}; differences are expected to grow",
        f"a warm-up to lr={trial.learning_rate:g}, or a tenth of it; in a transformer, norm_first=True",
        after,
        before,
        severity="fault" if after < 0.1 * before else "warning",
    )


def step_too_small(evidence: Evidence) -> Finding | None:
    """Steps of which a thousand would not change the loss by a hundredth, nor the weights by a hundredth."""
    trial = evidence.trial
    if trial is None or trial.exploded or not trial.update_ratio:
        return None
    largest = max(trial.update_ratio.values())
    fall = (trial.losses[0] - trial.losses[-1]) / max(abs(trial.losses[0]), 1e-30)
    if largest > 1e-5 or abs(fall) * 200 > 0.01:
        return None
    return Finding(
        "step_too_small",
        "",
        f"a step with lr={trial.learning_rate:g} changes no weight by more than {largest:.1g} of its size; 0.001 is usual",
        f"lr={trial.learning_rate * 1e-3 / max(largest, 1e-12):.1g}",
        largest,
        1e-3,
    )
