"""When a fault begins: the rules of `diagnosis`, asked again and again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan, prod, sqrt
from typing import Any

from torch import nn

from ..diagnosis.faults.death import dead
from ..diagnosis.faults.depth import exploding, vanishing
from ..diagnosis.faults.precision import overflow
from ..diagnosis.faults.saturation import saturated
from ..diagnosis.faults.time import MOST_FELT, RECURRENT_REMEDY, forgetting
from ..diagnosis.findings import EXPLAINS, Finding
from ..diagnosis.measurements import Measurements
from ..results import Result
from .calls import LayerCall
from .trends import TRENDS

Weighed = Mapping[str, tuple[float, float]]  # the norms of each parameter's gradient, and of itself before the step

_OF_SIGNALS = (overflow, dead, saturated, forgetting)
_OF_GRADIENTS = (exploding, vanishing)  # sizes are judged against the loss


@dataclass(frozen=True, eq=False, repr=False)
class Onset(Result):
    """The step at which a fault was first seen, and what `diagnosis` says of it there.

    >>> model = Scale(1.0, train=True)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=1e10)
    >>> with Monitor(model, optimizer=optimizer, every=1, tell=None) as monitor:
    ...     for _ in range(3):  # each step makes the factor 2 · 10¹⁰ times as large
    ...         optimizer.zero_grad()
    ...         loss = model(torch.ones(4, 1)).square().mean()
    ...         loss.backward()
    ...         optimizer.step()
    ...         monitor.step(loss)
    >>> [(onset.step, onset.finding.fault) for onset in monitor.signals.onsets]
    [(3, 'non_finite_forward')]
    """

    step: int  # of training, from 1
    finding: Finding  # the fault, its layer, the evidence and what helps

    def _rows(self) -> list[tuple[str, str]]:
        return [("step", str(self.step)), *self.finding._rows()]

    def __str__(self) -> str:
        finding = self.finding
        place = f" in {finding.layer}" if finding.layer else ""
        return f"step {self.step}: {finding.fault}{place}: {finding.evidence}\n  remedy: {finding.remedy}"


class Vigil:
    """Says once, of each fault, when it begins.

    Infinities, and what is seen in many records, are told at once, all else when it is seen twice in a row.
    """

    def __init__(self, tell: Callable[[Onset], None] | None):
        self.tell = tell
        self.onsets: list[Onset] = []
        self.suspected: dict[str, Onset] = {}

    @property
    def known(self) -> set[str]:
        """The faults that have begun."""
        return {onset.finding.fault for onset in self.onsets}

    def look(self, step: int, findings: Sequence[Finding]) -> None:
        """Compares the findings of a step with those of the one recorded before."""
        known = self.known
        explained = set().union(*(EXPLAINS.get(each, set()) for each in known)) if known else set()
        new = [each for each in findings if each.fault not in known | explained]
        suspected = {each.fault: self.suspected.get(each.fault, Onset(step, each)) for each in new}
        for finding in new:
            if finding.fault in self.suspected or finding.fault.startswith("non_finite") or finding.fault in TRENDS:
                self._begins(suspected.pop(finding.fault))
        self.suspected = suspected

    def state_dict(self) -> dict[str, Any]:
        """The faults that have begun, and those that were seen once, as plain values."""
        onsets = {"onsets": self.onsets, "suspected": self.suspected.values()}
        return {name: [{"step": each.step, **each.finding.to_dict()} for each in some] for name, some in onsets.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what an earlier run has seen."""
        self.onsets = [onset_of(each) for each in state["onsets"]]
        self.suspected = {each["fault"]: onset_of(each) for each in state["suspected"]}

    def _begins(self, onset: Onset) -> None:
        self.onsets.append(onset)
        if self.tell is not None:
            self.tell(onset)


def onset_of(values: dict[str, Any]) -> Onset:
    """An onset from the plain values of a checkpoint."""
    return Onset(values["step"], Finding(**{name: value for name, value in values.items() if name != "step"}))


def findings_in(
    model: nn.Module,
    calls: Sequence[LayerCall],
    loss: float | None,
    weights: Weighed | None,
    *,
    known: set[str],
    formula: tuple[str, str] | None = None,
    step: int = 0,
) -> list[Finding]:
    """What the rules of `diagnosis` find in one step, the root cause first.

    calls: in the order of execution. weights: None where the optimizer made no step, as it does when a loss scaler
    has seen infinite gradients. known: faults that need not be found again. formula: the operation of the loss that
    makes infinities most easily, and how to write it instead. step: of training, from 1; 0 where it is not known.
    """
    broken = _non_finite(calls, loss, weights, formula, step)
    if broken is not None:
        return [broken]
    rows = [each.row for each in calls]
    seen = Measurements(rows, model, nan if loss is None else loss)
    rules = [rule for rule in _OF_SIGNALS + (_OF_GRADIENTS if loss else ()) if rule.__name__ not in known]
    found = [finding for rule in rules if (finding := rule(seen)) is not None]
    if loss and weights and "exploding" not in known | {each.fault for each in found}:
        found += _over_time(seen, weights)
    explained = set().union(*(EXPLAINS.get(each.fault, set()) for each in found)) if found else set()
    return [each for each in found if each.fault not in explained]


_MOST_OVER_TIME = 100  # healthy recurrent networks have 0.1 to 5, and for a moment 40


def _over_time(evidence: Measurements, weights: Weighed) -> list[Finding]:
    """A recurrent weight that is felt much more than the outputs of its layer: gradients grow from step to step.

    What the first steps are given has no gradient while a network trains; the weight's says the same.
    """
    recurrent = {name: norms for name, norms in weights.items() if "weight_hh" in name}
    for row in evidence.rows if recurrent else ():
        outputs = sqrt(row.gradient * row.moment) * prod(row.shape)
        prefix = f"{row.name}.weight_hh" if row.name else "weight_hh"
        found = {name: norms for name, norms in recurrent.items() if name.startswith(prefix)}
        if not isinstance(evidence.modules.get(row.name), nn.RNNBase) or not found or not outputs > 0:
            continue
        name, felt = max(
            ((name, gradient * size) for name, (gradient, size) in found.items()), key=lambda each: each[1]
        )
        if felt > MOST_FELT * evidence.scale and felt > _MOST_OVER_TIME * outputs:
            told = (
                f"gradients grow from time step to time step: that of {name}, times the weight, is {felt / outputs:.2g}"
            )
            told += " times that of the layer's outputs, times these; less than 10 is expected"
            return [Finding("exploding", row.label, told, RECURRENT_REMEDY, felt / outputs, 1.0)]
    return []


_BEFORE = "go back to a checkpoint from before this step; then a smaller learning rate, or clipped gradients"
_AT_ONCE = "no step was made yet, so no rate is to blame: look at the inputs, then at this layer's operation"
_MORE = "; monitor.diagnose(targets, loss) runs that very batch again and names the operation"


def _non_finite(
    calls: Sequence[LayerCall],
    loss: float | None,
    weights: Weighed | None,
    formula: tuple[str, str] | None,
    step: int,
) -> Finding | None:
    remedy = (_AT_ONCE if step == 1 else _BEFORE) + _MORE
    named = f"{formula[1]} (the loss computes {formula[0]})" if formula is not None else remedy
    spoilt = next((name for name, (_, norm) in (weights or {}).items() if not isfinite(norm)), None)
    if spoilt is not None:
        told = "this weight was infinite or NaN before the step began"
        return Finding("non_finite_forward", spoilt, told, remedy)
    forward = next((each.row.label for each in calls if each.bad_signal), None)
    if forward is not None:
        return Finding("non_finite_forward", forward, "its output is the first that is infinite or NaN", remedy)
    if loss is not None and not isfinite(loss):
        return Finding("non_finite_forward", "", f"the loss is {loss}, and every recorded output is finite", named)
    backward = next((each.row.label for each in reversed(calls) if each.bad_gradient), None)
    if backward is not None and weights is not None:
        told = "the loss is finite; on the way back this is the first gradient that is not"
        return Finding("non_finite_backward", backward, told, named)
    return None
