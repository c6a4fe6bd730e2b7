"""The report: verdict, evidence, remedy, and one row per layer call."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite, isnan, log10, nan
from typing import Any

import torch
from torch import nn

from ..borrowing import borrowed
from ..plotting import Axes, alt_text, theory_line
from ..recording import SignalRow, Signals
from ..recording.signals import plain
from ..recording.tables import html_table, number_text, shape_text, text_table
from ..results import Result, html_rows
from ..trainability.forecast import Trainability
from .findings import FAULTS, Finding
from .subject import Subject
from .trial import hold_all, private_optimizer


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Result):
    """What `diagnose` found: the root cause first, what it brings about below it.

    >>> model = mlp([8, 16, 3], torch.relu, initializer=he_normal_)
    >>> _ = nn.init.constant_(model.layer1.linear.bias, -100.0)
    >>> report = diagnose(model, normal(16, 8, generator=seeded(0)), torch.arange(16) % 3)
    >>> report.verdict, [finding.fault for finding in report.findings]  # the root cause, what it brings about
    ('dead', ['dead', 'blind'])
    >>> report.signals["layer1.relu()"].dead  # the share of units that are 0 for every sample
    1.0
    """

    findings: tuple[Finding, ...]  # the root cause first; none where nothing is wrong
    trainability: Trainability  # how likely it trains
    signals: Signals  # one row per layer call
    expected: tuple[float, ...]  # E h² of each row of the signals by mean-field theory, NaN where it has no say
    expected_gradients: tuple[float, ...]  # and E g²
    subject: Subject | None = field(repr=False)  # what was diagnosed; None in a copy, or where it was stored
    first_loss: float = nan  # of the batch, before any step
    constant_loss: float = nan  # what the best of two constant answers has; NaN where the loss does not take one
    loss_given: bool = True  # or one for the targets; else a random combination of the outputs was taken
    again: "Callable[..., Diagnosis] | None" = field(default=None, repr=False)  # `diagnose`, for a repaired model

    @property
    def verdict(self) -> str:
        """The root cause, a key of FAULTS; "healthy" where nothing is wrong."""
        return self.findings[0].fault if self.findings else "healthy"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the model, the batch and the optimizer, which a report is not meant to carry about."""
        return {**vars(self), "subject": None, "again": None}

    def _rows(self) -> list[tuple[str, str]]:
        odds = [f"{name} {value:.0%}" for name, value in self._odds() if not isnan(value)]
        likely = ", ".join(odds) if odds else f"not measured: {self.trainability.note}"
        root = self.findings[0] if self.findings else None
        rows = [("verdict", f"{self.verdict}: {FAULTS[self.verdict]}")] + (root._rows()[1:] if root else [])
        if root is not None and root.severity != "fault":
            rows[0] = ("verdict", f"{rows[0][1]} (a warning)")
        best = max((value for _, value in self._odds() if not isnan(value)), default=nan)
        if root is None and best < 0.5:
            rows[0] = ("verdict", "healthy: no fault was seen, though a few steps at several rates taught it little")
        rest = [f"{each.fault}: {each.evidence}" for each in self.findings[1:]]
        return [
            *rows,
            *(("and then", text) for text in rest),
            ("first loss", self._compared()),
            ("likely to train", likely),
        ]

    def _compared(self) -> str:
        """The first loss beside that of a constant answer."""
        if not self.loss_given:
            return f"{self.first_loss:.3g}, of a random combination of the outputs: no loss was given"
        if isnan(self.constant_loss):
            return f"{self.first_loss:.3g}"
        return f"{self.first_loss:.3g}; a constant answer has {self.constant_loss:.3g}"

    def _odds(self) -> list[tuple[str, float]]:
        return [("SGD", self.trainability.sgd), ("Adam", self.trainability.adam)]

    def __repr__(self) -> str:
        return "\n".join(f"{name:>15}: {text}" for name, text in self._rows())

    def table(self) -> str:
        """One line per layer call, for a terminal: what was measured, and beside it what theory expects."""
        return text_table(*self._cells())

    def _repr_html_(self) -> str:
        told = html_rows(self._rows(), caption="Diagnosis")
        return told + html_table(*self._cells(), caption=f"{len(self.signals)} layer calls")

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        columns = ("moment", "variation", "gradient", "dead", "saturated")
        body = [
            [_named(row), row.kind, shape_text(row.shape), *(number_text(getattr(row, name)) for name in columns)]
            for row in self.signals.rows
        ]
        for cells, moment, gradient in zip(body, self.expected, self.expected_gradients):
            cells.insert(6, number_text(gradient))
            cells.insert(4, number_text(moment))
        head = ["layer", "kind", "output", "E h²", "expected", "variation", "E g²", "expected", "dead", "saturated"]
        return head, body

    def plot(self, ax: Axes | None = None) -> Axes:
        """Axes with the second moments of signals and gradients, call by call, and what theory expects of signals."""
        ax = self.signals.plot(ax)
        heights = [log10(each) if 0 < each < torch.inf else nan for each in self.expected]
        if not all(map(isnan, heights)):
            theory_line(
                ax,
                torch.arange(1, len(heights) + 1, device="cpu"),
                torch.tensor(heights, device="cpu"),
                label="expected of signals",
            )
        ax.set_title(self.verdict)
        alt_text(ax, f"Second moments of signals and gradients over {len(heights)} layer calls; {self.verdict}")
        return ax

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values; None where nothing was measured."""
        rows = self.signals.to_dict()["rows"]
        return plain(
            {
                "verdict": self.verdict,
                "findings": [finding.to_dict() for finding in self.findings],
                "first_loss": self.first_loss,
                "constant_loss": self.constant_loss,
                "trainability": {"sgd": self.trainability.sgd, "adam": self.trainability.adam},
                "signals": [
                    row | {"expected": moment, "expected_gradient": gradient}
                    for row, moment, gradient in zip(rows, self.expected, self.expected_gradients)
                ],
            }
        )

    def to_json(self) -> str:
        """`to_dict` as JSON; infinite numbers are the strings "inf" and "-inf"."""
        return json.dumps(self.to_dict())

    def to_frame(self) -> Any:
        """The layer calls as a pandas DataFrame: what `signals.to_frame()` has, and what is expected of each.

        Raises ModuleNotFoundError where pandas is missing.
        """
        return self.signals.to_frame().assign(expected=self.expected, expected_gradient=self.expected_gradients)

    def repaired(self, *, seed: int = 0) -> "Repair":
        """A copy of the model with the remedy of the root cause applied, and the reports before and after.

        Where several changes may help, it is the first after which nothing is wrong, or else the last. Weights that
        are drawn afresh come from the seed. The model itself stays as it is. Raises ValueError where nothing is wrong,
        or the remedy is not a change of the model.
        """
        repairs = self.findings[0].repairs if self.findings else ()
        if not repairs:
            remedy = self.findings[0].remedy if self.findings else "nothing to do"
            raise ValueError(
                f"verdict {self.verdict!r} with the remedy: {remedy}\n"
                "expected a fault that a change of the model repairs; this one is outside of it, so change that"
            )
        if self.subject is None:
            raise ValueError(
                "this report is a copy, and copies leave the model behind\nexpected the report that diagnose returned"
            )
        made = self._with(self.subject, repairs[0], seed)
        for repair in repairs[1:]:
            made = made if made.after.verdict == "healthy" else self._with(self.subject, repair, seed)
        return made

    def _with(self, subject: Subject, repair: Callable[[nn.Module, int], nn.Module], seed: int) -> "Repair":
        assert self.again is not None
        with borrowed(subject.model):  # some models change while they are copied
            copied = copy.deepcopy(subject.model)
        own = {id(old): new for old, new in zip(subject.model.parameters(), copied.parameters())}
        model, optimizer = repair(copied, seed), None
        if subject.optimizer is not None:
            optimizer = private_optimizer(subject.optimizer, own)
            hold_all(optimizer, model)
        inputs = subject.keywords or subject.inputs
        return Repair(model, self, self.again(model, inputs, subject.targets, subject.loss, optimizer=optimizer))


def _named(row: SignalRow) -> str:
    """The row's label, with a warning where an entry, perhaps a single one, is infinite or NaN."""
    bad = "float" in row.dtype and not isfinite(row.largest)
    return f"{row.label} (not finite)" if bad else row.label


@dataclass(frozen=True, eq=False, repr=False)
class Repair(Result):
    """A repaired copy of a model.

    >>> model = mlp([8, 16, 3], torch.relu, initializer=he_normal_)
    >>> _ = nn.init.constant_(model.layer1.linear.bias, -100.0)
    >>> report = diagnose(model, normal(16, 8, generator=seeded(0)), torch.arange(16) % 3)
    >>> report.repaired()
    Repair(before: dead, after: healthy)
    """

    model: nn.Module  # the copy
    before: Diagnosis  # of the model as it was given
    after: Diagnosis  # of the copy

    def _rows(self) -> list[tuple[str, str]]:
        return [("before", self.before.verdict), ("after", self.after.verdict)]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Axes with the report after the repair."""
        return self.after.plot(ax)
