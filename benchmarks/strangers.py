"""Models of strangers under `diagnose`, `record` and `Monitor`: what is raised, what stays changed, what is alarmed.

    python -m benchmarks.strangers [NAME ...]

Models that timm, torchvision, transformers, peft and Keras build at a small size, with random weights of their own and
nothing downloaded: each is diagnosed, repaired where that is offered, recorded, and trained for three steps under a
`Monitor`. One line per model, then a table of counts. NAME: only those whose names contain it.
"""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from math import isnan
from time import perf_counter

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from benchmarks.families import FAMILIES, Stranger, loss_of
from d2lstab import Monitor, diagnose, record
from tests.traces import world

COLUMNS = ("models", "not built", "healthy", "warned", "alarmed", "forecast", "repaired", "raised", "traces")


def main(wanted: list[str]) -> None:
    counts: dict[str, Counter] = {}
    for family, members in FAMILIES.items():
        for name, make in members().items():
            label = f"{family}/{name}"
            if wanted and not any(each in label for each in wanted):
                continue
            start = perf_counter()
            with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                warnings.simplefilter("ignore")
                told = outcome(make)
            counts.setdefault(family, Counter()).update({"models", *told})
            words = "; ".join(f"{what} {text}".strip() for what, text in told.items())
            print(f"{label:44} {perf_counter() - start:6.1f} s  {words}", flush=True)
    print("\n" + " " * 14 + "".join(f"{each:>10}" for each in COLUMNS))
    for family, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{family:14}" + "".join(f"{found[each]:10}" for each in COLUMNS))


def outcome(make: Callable[[], Stranger]) -> dict[str, str]:
    """What came of one model: words for each kind of outcome."""
    torch.manual_seed(0)
    try:
        stranger = make()
        loss_of(stranger).backward()
        stranger.model.zero_grad()
    except Exception as error:  # noqa: BLE001  what its own library does not build or train at this size
        return {"not built": told_of(error)}
    model, told = stranger.model, {}
    before = world(model)
    try:
        report = diagnose(model, stranger.inputs, stranger.targets, stranger.loss)
        print(report, report.table(), report.to_json(), report._repr_html_(), report.plot())
        root = report.findings[0] if report.findings else None
        told["healthy" if root is None else "alarmed" if root.severity == "fault" else "warned"] = (
            "" if root is None else f"{root.fault} in {root.layer}: {root.evidence}"
        )
        answers = report.trainability
        told |= {} if isnan(answers.adam) else {"forecast": f"SGD {answers.sgd:.2f}, Adam {answers.adam:.2f}"}
        if root is not None and root.repairs:
            told["repaired"] = report.repaired().after.verdict
    except Exception as error:  # noqa: BLE001  this is what is looked for
        told["raised"] = told_of(error)
    if world(model) != before:
        told["traces"] = ""
    try:
        with record(model, full=True) as signals:
            loss_of(stranger).backward()
        print(signals.table())
        optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], 1e-4)
        with Monitor(model, optimizer=optimizer, every=1, tell=None) as monitor:
            for _ in range(3):
                optimizer.zero_grad()
                loss = loss_of(stranger)
                loss.backward()
                optimizer.step()
                monitor.step(loss)
        print(monitor.signals.to_json())
    except Exception as error:  # noqa: BLE001
        told["raised"] = f"in training: {told_of(error)}"
    return told


def told_of(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:150]}"


if __name__ == "__main__":
    main(sys.argv[1:])
