"""The recorder of one training step: all its passes make one row per layer call."""

from collections.abc import Collection
from math import isfinite, prod

import torch
from torch import Tensor, nn

from ..recording.functional import FunctionCalls
from ..recording.modules import in_backward
from ..recording.recorder import Recorder
from ..recording.signals import Signals
from ..recording.statistics import measurable
from .calls import LayerCall, histogram_of


class StepRecorder(Recorder):
    """Records the passes with gradients of one training step, and numbers the calls of each pass anew.

    A pass is a call of an outermost module: of the model, or of a part that the training loop calls by itself.
    """

    def __init__(self, *, histograms: bool, chosen: Collection[str] | None = None):
        super().__init__([], True)
        self.chosen = chosen
        self.histograms = histograms
        self.functions = FunctionCalls(self)
        self.wanted = False  # whether this pass is one of training
        self.seeing = False  # whether calls of functions are being watched

    def _enter(self, name: str, layer: bool, opaque: bool, module: nn.Module, arguments: tuple, keywords: dict) -> None:
        if not self.path and not in_backward():
            self._begin_pass()
            if self.wanted and self.calls_functions and not self.seeing:
                self.functions.__enter__()
                self.seeing = True
        super()._enter(name, layer, opaque, module, arguments, keywords)

    def _leave(self, name: str, layer: bool, opaque: bool, module: nn.Module, arguments: tuple, output) -> None:
        if not self.path and not in_backward():  # a simple layer that the loop calls by itself
            self._begin_pass()
        super()._leave(name, layer, opaque, module, arguments, output)
        if not self.path:
            self._look_away()

    def measure(self, name: str, kind: str, found: list[Tensor], before: dict, arguments) -> None:
        if not self.wanted:
            return
        super().measure(name, kind, found, before, arguments)
        if self.histograms and measurable(found[0]) and found[0].is_floating_point():
            self.tape[-1].values["histogram"] = histogram_of(found[0].detach())

    def begin(self) -> None:
        """Forgets the step before; the hooks on modules stay."""
        self._look_away()
        self.let_go()
        self.path.clear()  # a hook holds this list
        self.tape, self.calls, self.made, self.before = [], {}, {}, {}
        self.inside, self.batch, self.wanted = 0, None, False

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

    def _begin_pass(self) -> None:
        self.wanted = torch.is_grad_enabled()
        self.calls, self.batch = {}, None

    def _look_away(self) -> None:
        if self.seeing:
            self.seeing = False
            self.functions.__exit__(None, None, None)
