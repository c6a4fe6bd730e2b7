"""Learning rates, as tried."""

from dataclasses import replace
from itertools import pairwise
from math import isfinite, isnan

from ..evidence import Evidence
from ..findings import Finding
from ..trial import Trial

_LONG = 20  # steps after which a network that shrugged off its first steps is judged


def step_too_large(evidence: Evidence) -> Finding | None:
    """Steps on one batch that multiply its loss, or after which outputs no longer depend on inputs."""
    trial = evidence.trial
    if trial is None:
        return None
    stuck = _fading(evidence) and trial.losses[-1] > 0.97 * evidence.chance
    if not trial.exploded and evidence.small and (stuck or _shaken(trial) or _collapsed(trial, 1)):
        trial = evidence.tried(_LONG)
    told = _told(trial, evidence)
    if told is not None:
        return _found(evidence, told, trial)
    return _slower_is_faster(evidence, trial) if stuck and len(trial.losses) > _LONG else None


def _shaken(trial: Trial) -> bool:
    """Whether a step raised the loss by more than noise does."""
    return any(there > 1.2 * here > 0 for here, there in pairwise(trial.losses))


def _collapsed(trial: Trial, last: int) -> bool:
    """Whether the outputs of these last steps hardly differ between samples, and their differences are worth nothing."""
    gone = max(trial.deviations[-last:]) < 0.1 * trial.deviations[0]
    return gone and not max(trial.gains[-last:]) > 0.01


def _told(trial: Trial, evidence: Evidence) -> str | None:
    """What the trial did that a good one does not."""
    floor = _floor(trial, evidence)
    highest, stays = max(trial.losses), min(trial.losses[-3:])
    if trial.exploded or highest > 10 * abs(floor) or stays > 1.5 * abs(floor):
        return f"the loss on one batch goes {_numbers(trial.losses)}; a falling one is expected"
    if _collapsed(trial, 10 if len(trial.losses) > _LONG else 1) and max(trial.update_ratio.values(), default=0) > 0.01:
        return (
            f"the outputs differ by {trial.deviations[-1]:.2g} between samples after {len(trial.losses) - 1} steps, "
            f"before by {trial.deviations[0]:.2g}; differences are expected to grow"
        )
    return None


def _floor(trial: Trial, evidence: Evidence) -> float:
    """The first loss, or that of a constant answer where it is larger."""
    return max(trial.losses[0], evidence.chance) if isfinite(evidence.chance) else trial.losses[0]


def _found(evidence: Evidence, told: str, trial: Trial) -> Finding:
    good = _good_rate(evidence)
    remedy = f"lr={good:.1g}: with it the loss on this batch falls" if good else "look for another fault: no rate helps"
    # Some that come back from far above chance, with differences left, train in the end.
    lasting = trial.exploded or trial.losses[-1] > 1.5 * abs(_floor(trial, evidence))
    lasting = lasting or not trial.deviations[-1] > 0.01 * trial.deviations[0]
    return Finding(
        "step_too_large",
        "",
        f"with lr={trial.learning_rate:g} {told}",
        remedy,
        trial.learning_rate,
        good or 0.0,
        severity="fault" if lasting else "warning",
    )


def _good_rate(evidence: Evidence) -> float:
    """The largest power of ten below the rate at which the loss falls steadily; 0 where none of a few does."""
    steps, tries = (10, 6) if evidence.small else (3, 3)
    for power in range(1, tries + 1):
        trial = evidence.tried(steps, 10.0**-power)
        falls = not trial.exploded and trial.losses[-1] < trial.losses[0] and not _shaken(trial)
        if falls and not _collapsed(trial, 1):
            return trial.learning_rate
    return 0.0


def _fading(evidence: Evidence) -> bool:
    """Whether differences between samples get lost in a deep stack, where large steps lose the rest."""
    known = [row.variation for row in evidence.rows if not isnan(row.variation)]
    return len(known) > 20 and known[-1] < 0.4 * max(known[: len(known) // 2])


def _slower_is_faster(evidence: Evidence, trial: Trial) -> Finding | None:
    """A deep stack that has learnt nothing of its batch, and more at a tenth of the rate."""
    if trial.gains[-1] > 0.1:
        return None
    slower = evidence.tried(_LONG, 0.1)
    if not min(slower.losses[-3:]) < 0.98 * min(trial.losses[-3:]):
        return None
    finding = _found(
        evidence,
        f"the loss on one batch is {trial.losses[-1]:.3g} after {_LONG} steps, {slower.losses[-1]:.3g} with a tenth of that "
        "rate; the larger rate is expected to be faster",
        trial,
    )
    remedy = f"a warm-up to lr={trial.learning_rate:g}, or a tenth of it; in a transformer, norm_first=True"
    return replace(finding, remedy=remedy, expected=0.1 * trial.learning_rate, severity="warning")


def _numbers(losses: list[float]) -> str:
    shown = [f"{value:.3g}" for value in losses]
    return ", ".join(shown if len(shown) < 8 else [*shown[:6], "…", shown[-1]])


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
