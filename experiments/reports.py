"""What `diagnose` says of failures that people reported, broken and fixed, and what training says of its remedies: chapter 13.

    python -m experiments.reports [CASE ...]

Each case of `experiments.cases`, broken and fixed, with two seeds: the faults named and both forecasts; and the score of
training once more with the remedies: `repaired()`, and the learning rate that is named then; None where neither is offered.
"""

import re
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import product
from math import isfinite

import torch

from d2lstab import diagnose
from d2lstab.diagnosis import Diagnosis
from experiments.cases import CASES, Run
from experiments.stored import calculate

SEEDS = range(2)
ROWS = list(CASES)
SETTINGS = {"seeds": list(SEEDS)}


def look(run: Run) -> Diagnosis:
    """The report on a run's first batch, with its loss and optimizer."""
    return diagnose(run.model, *run.first_batch(), run.loss, optimizer=run.optimizer)


def treated(run: Run, report: Diagnosis) -> Run | None:
    """The run after `repaired()`, and at the rate that is named then; None where neither is offered."""
    if not report.findings or not (report.findings[0].repairs or _rate(report)):
        return None
    repair = report.repaired() if report.findings[0].repairs else None
    model, after = (deepcopy(run.model), report) if repair is None else (repair.model, repair.after)
    options = {key: value for key, value in run.optimizer.param_groups[0].items() if key != "params"}
    options = {key: options[key] for key in ("lr", "momentum") if key in options}
    smaller = re.search(r"SGD then takes its lr over ([\d.e+-]+\d)", report.findings[0].remedy)
    if smaller and isinstance(run.optimizer, torch.optim.SGD):
        options["lr"] /= float(smaller[1])
    options["lr"] = _rate(after) or options["lr"]
    trained = [each for each in model.parameters() if each.requires_grad]
    return replace(run, model=model, optimizer=type(run.optimizer)(trained, **options))


def _rate(report: Diagnosis) -> float | None:
    """The learning rate that a report names."""
    named = [re.match(r"lr=([\d.e+-]+\d)", each.remedy) for each in report.findings]
    return next((float(each[1]) for each in named if each), None)


def row(name: str) -> dict:
    """By state, "broken" and "fixed", what is said with each seed; and what the remedy brings for the first seed."""
    found: dict = {"broken": [], "fixed": [], "treated": None}
    for state, seed in product(("broken", "fixed"), SEEDS):
        run = CASES[name].run(state == "fixed", seed)
        report = look(run)
        forecast = [_rounded(report.trainability.sgd), _rounded(report.trainability.adam)]
        faults = [f"{each.fault} ({each.severity})" for each in report.findings]
        found[state].append({"faults": faults, "forecast": forecast, "remedy": _remedy(report)})
        if state == "broken" and seed == SEEDS[0]:
            other = treated(run, report)
            found["treated"] = None if other is None else _rounded(other.trained()) or 0.0
    return found


def _remedy(report: Diagnosis) -> str:
    return report.findings[0].remedy if report.findings else ""


def _rounded(number: float) -> float | None:
    return round(number, 3) if isfinite(number) else None


def learns(name: str, score: float) -> bool:
    """Whether a score is that of a network that trains."""
    return score > CASES[name].learns


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("reports", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
