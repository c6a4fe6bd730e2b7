"""The recorder of one training step: all its passes make one row per layer call."""

from collections.abc import Collection, Sequence
from functools import partial
from math import isfinite, prod

import torch
from torch import Tensor, nn

from ..containers import tensors_in
from ..recording.modules import in_backward
from ..recording.recorder import Recorder
from ..recording.signals import Signals
from ..recording.statistics import dense, measurable
from .attention import StepFunctions
from .calls import LayerCall, histogram_of
from .facts import Backward, excess_of, look_at_answer
from .kept import MOST_BYTES, KeptBatch, size_of
from .weights import local


class StepRecorder(Recorder):
    """Records the passes with gradients of one training step, and numbers the calls of each pass anew.

    A pass is a call of an outermost module: of the model, or of a part that the training loop calls by itself.
    """

    def __init__(self, *, histograms: bool, chosen: Collection[str] | None = None):
        super().__init__([], True)
        self.chosen = chosen
        self.histograms = histograms
        self.functions = StepFunctions(self)
        self.outermost: list[str] = []  # modules that the loop called itself, in this step
        self.noise = False  # whether random numbers were drawn inside a pass
        self.given: dict[int, tuple[tuple, dict]] = {}  # what the model was called with, by pass
        self.held = 0  # bytes of it
        self.pass_of: list[int] = []  # of each entry of the tape
        self.answers: list[tuple[Tensor, Tensor, Tensor]] = []  # of each backward pass
        self.earlier: list[Tensor] = []  # of each parameter, whether gradients were there before every pass
        self.looks: dict[str, list[tuple[Tensor, Tensor]]] = {}  # of attention, by label, one for each pass
        self.attending: dict[str, int] = {}
        self.wanted = False  # whether this pass is one of training
        self.seeing = False  # whether calls of functions are being watched

    def _enter(self, name: str, layer: bool, opaque: bool, module: nn.Module, arguments: tuple, keywords: dict) -> None:
        if not self.path and not in_backward():
            self._begin_pass(name)
            if self.wanted and self.calls_functions and not self.seeing:
                self.functions.__enter__()
                self.seeing = True
            self._keep(arguments, keywords)
        super()._enter(name, layer, opaque, module, arguments, keywords)

    def _leave(self, name: str, layer: bool, opaque: bool, module: nn.Module, arguments: tuple, output) -> None:
        if not self.path and not in_backward():  # a simple layer that the loop calls by itself
            self._begin_pass(name)
        super()._leave(name, layer, opaque, module, arguments, output)
        if not self.path:
            self._look_away()
            if self.wanted and not in_backward():
                self._await_answer(output)

    def measure(self, name: str, kind: str, found: list[Tensor], before: dict, arguments) -> None:
        if not self.wanted:
            return
        super().measure(name, kind, found, before, arguments)
        self.pass_of.append(len(self.outermost) - 1)
        if self.histograms and measurable(found[0]) and found[0].is_floating_point():
            self.tape[-1].values["histogram"] = histogram_of(found[0].detach())

    def attend(self, look: tuple[Tensor, Tensor]) -> None:
        """One more call of attention, in the module that is being called."""
        if self.wanted:
            name = self.path[-1]
            self.attending[name] = call = self.attending.get(name, 0) + 1
            self.looks.setdefault(name if call == 1 else f"{name}#{call}", []).append(look)

    def begin(self, parameters: Sequence[nn.Parameter] = ()) -> None:
        """Forgets the step before; the hooks on modules stay. Gradients of these parameters are expected to be 0."""
        self._look_away()
        self.let_go()
        self.path.clear()  # a hook holds this list
        self.tape, self.calls, self.made, self.before = [], {}, {}, {}
        self.inside, self.batch, self.wanted = 0, None, False
        self.given, self.held, self.pass_of = {}, 0, []
        self.outermost, self.noise, self.answers, self.earlier, self.looks = [], False, [], [], {}
        for each in parameters:
            self._hook(each, partial(self._look_before, each, []))

    def close(self) -> None:
        self._look_away()
        super().close()

    def found(self) -> dict[str, LayerCall]:
        """What was recorded, by the label of the call, all passes added up. Here the host waits for the device."""
        found: dict[str, LayerCall] = {}
        for row, entry in zip(Signals(self.tape).rows, self.tape):
            values = entry.values
            here = LayerCall(
                row=row,
                reach=entry.reach,
                histogram=values.get("histogram", ()),
                bad_signal=not isfinite(values.get("largest", 0.0)),
                bad_gradient=not isfinite(values.get("gradient_largest", 0.0)),
                entries=prod(row.shape),
            )
            found[row.label] = found[row.label] + here if row.label in found else here
        return found

    def kept(self, step: int, weights: dict[str, Tensor] | None) -> KeptBatch | None:
        """The batch of the first pass with a bad number, or of the last; None where it was too large to hold."""
        bad = (
            place
            for entry, place in zip(self.tape, self.pass_of)
            if not isfinite(float(entry.values.get("norm", 0.0)))
            or not isfinite(float(entry.values.get("gradient_norm", 0.0)))
        )
        given = self.given.get(next(bad, len(self.outermost) - 1))
        return None if given is None else KeptBatch(step, *given, weights)

    def _keep(self, arguments: tuple, keywords: dict) -> None:
        """Holds what a pass is given, no copy, until the step is over; as much as memory may be asked for."""
        if self.wanted and self.path == [] and self.outermost[-1] == "":
            self.held += size_of((arguments, keywords))
            if self.held <= MOST_BYTES:
                self.given[len(self.outermost) - 1] = arguments, keywords

    def backward(self, scale: float) -> Backward:
        """What the backward passes showed. Here the host waits for the device."""
        kept = bool(self.earlier) and all(map(bool, self.earlier))
        return Backward(len(self.answers), excess_of(self.answers, scale), kept)

    def attention(self) -> dict[str, tuple[float, float]]:
        """Entropy and largest logit of each call of attention, over all passes. Here the host waits for the device."""
        return {
            label: (sum(float(entropy) for entropy, _ in looks) / len(looks), max(float(logit) for _, logit in looks))
            for label, looks in self.looks.items()
        }

    def _begin_pass(self, name: str) -> None:
        self.wanted = torch.is_grad_enabled()
        self.calls, self.attending, self.batch = {}, {}, None
        if self.wanted:
            self.outermost.append(name)

    def _await_answer(self, output) -> None:
        """Looks at the gradient of what the model answers, once it comes."""
        answer = next((each for each in tensors_in(output) if each.dim() > 1 and each.is_floating_point()), None)
        if answer is not None and answer.requires_grad and measurable(answer):
            self._hook(answer, self._answered)

    def _answered(self, gradient: Tensor) -> None:
        if measurable(gradient):
            self.answers.append(look_at_answer(gradient))

    def _look_before(self, parameter: nn.Parameter, seen: list, gradient: Tensor) -> None:
        """Called before each gradient of a step is added: what was set to 0 before any of them is not of earlier steps."""
        there = local(parameter.grad)
        held = torch.zeros((), dtype=torch.bool, device="cpu") if there is None else dense(there).any()
        if not seen:
            seen.append(len(self.earlier))
            self.earlier.append(held)
        elif there is None:
            self.earlier[seen[0]] = held
        else:
            self.earlier[seen[0]] = self.earlier[seen[0]].to(held.device) & held

    def _look_away(self) -> None:
        if self.seeing:
            self.seeing = False
            self.functions.__exit__(None, None, None)
