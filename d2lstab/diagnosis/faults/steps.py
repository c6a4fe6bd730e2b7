"""Learning rates, as tried."""

from dataclasses import replace
from itertools import pairwise
from math import inf, isfinite, isnan

from ..evidence import Evidence
from ..findings import Finding
from ..trial import LONG, SHORT, Trial

_SLOWER = 0.1
_FIRST, _EARLY = 5, 20  # steps after which a deep stack may still be at chance, and after which it has learnt something
_STAYS_UP = 0.5  # of the first loss: a transformer at .48 after 30 steps trains, if not as fast as it could
_FAR_LESS = 0.2  # of the loss is left: twenty He layers with SGD(0.01), who train, have 0.3, and what fails has 0.18


def step_too_large(evidence: Evidence) -> Finding | None:
    """Steps on one batch that multiply its loss, after which outputs no longer depend on inputs, or slower is faster."""
    trial = evidence.trial
    if trial is None:
        return None
    told = _told(trial, evidence)
    if told is not None:
        return _found(evidence, told, trial)
    return _slower_is_faster(evidence, trial) if evidence.small else None


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
    if _collapsed(trial, 10 if evidence.small else 1) and max(trial.update_ratio.values(), default=0) > 0.01:
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
    steps, tries = (LONG, 6) if evidence.small else (SHORT, 3)
    for power in range(1, tries + 1):
        trial = evidence.tried(10.0**-power, steps)
        falls = not trial.exploded and trial.losses[-1] < trial.losses[0] and not _shaken(trial)
        if falls and not _collapsed(trial, 1):
            return trial.learning_rate
    return 0.0


def _fading(evidence: Evidence) -> bool:
    """Whether differences between samples get lost in a deep stack, where large steps lose the rest."""
    known = [row.variation for row in evidence.rows if not isnan(row.variation)]
    return len(known) > 20 and known[-1] < 0.4 * max(known[: len(known) // 2])


def _slower_is_faster(evidence: Evidence, trial: Trial) -> Finding | None:
    """A rate at which the loss stays up, or a deep stack learns nothing, where a tenth of it does far better."""
    lately = min(trial.losses[-5:])
    stuck = len(trial.losses) > _EARLY and trial.gains[_EARLY] <= 0.1
    stuck = stuck and _fading(evidence) and trial.losses[_FIRST] > 0.97 * evidence.chance
    steady = all(there <= here for here, there in pairwise(trial.losses))  # if slow, then not by too large steps
    if not stuck and (steady or not lately > _STAYS_UP * _floor(trial, evidence) > 0):
        return None
    slower = evidence.tried(_SLOWER)
    early = slice(_EARLY - 2, _EARLY + 1)
    better = min(slower.losses[-5:]) < _FAR_LESS * lately
    better = better or (stuck and min(slower.losses[early], default=inf) < 0.98 * min(trial.losses[early]))
    if slower.exploded or not better:
        return None
    finding = _found(
        evidence,
        f"the loss on one batch is {lately:.3g} after {len(trial.losses) - 1} steps, {min(slower.losses[-5:]):.3g} with a "
        "tenth of that rate; the larger rate is expected to be faster",
        trial,
    )
    remedy = f"lr={slower.learning_rate:g}, or a warm-up to {trial.learning_rate:g}"
    if any(getattr(each, "norm_first", True) is False for each in evidence.modules.values()):
        remedy += "; norm_first=True in the transformer's layers"
    return replace(finding, remedy=remedy, expected=slower.learning_rate, severity="warning")


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
    if largest > 1e-5 or abs(fall) * 1000 / (len(trial.losses) - 1) > 0.01:
        return None
    rate, remedy = trial.learning_rate, ""
    if rate == 0:
        remedy = "a learning rate above 0: a scheduler, or a warm-up that begins at 0, may have set it"
    elif largest > 0:
        remedy = f"lr={rate * 1e-3 / largest:.1g}"
    elif trial.losses[0] == 0:
        return None  # nothing is left to learn of this batch
    return Finding(
        "step_too_small",
        "",
        f"a step with lr={rate:g} changes no weight by more than {largest:.1g} of its size; 0.001 is usual",
        remedy
        or "no rate helps where every gradient is 0: look for what stops it, or for a loss that does not need them",
        largest,
        1e-3,
    )
