"""What the rules are told of one step: all of it plain values, and the modules that theory is asked about."""

from collections.abc import Sequence
from functools import cached_property
from math import inf, isnan, nan, prod, sqrt

from torch import nn

from ..recording import SignalRow
from ..recording.keras import as_torch
from ..recording.modules import named_modules
from .attention import Gaze
from .expectation import scales
from .repairs import Repair, normalized, reinitialized


class Measurements:
    """The numbers of one forward and backward pass.

    A rule that asks for nothing else is asked by `diagnose` and, while a network trains, by `Monitor`. What takes a
    batch to run again is here as what is not known: NaN, or nothing.
    """

    def __init__(self, rows: list[SignalRow], model: nn.Module, loss: float):
        """rows: in the order of calls. model: whose layers they are. loss: NaN where none is known."""
        self.rows, self.model, self.loss = rows, model, loss

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """The modules by the names that rows have; walked where a rule asks, and not in each step that is recorded."""
        return dict(named_modules(self.model))

    @cached_property
    def seen_again(self) -> list[SignalRow]:
        """The rows after small steps, where a weight that is 0 hides all that lies behind it."""
        return self.rows

    @property
    def gazes(self) -> Sequence[Gaze]:
        """The calls of attention."""
        return ()

    @cached_property
    def chance(self) -> float:
        """The loss of a constant answer."""
        return nan

    @property
    def trains(self) -> float:
        """How likely it trains."""
        return nan

    @property
    def input_moment(self) -> float:
        """E x² of the inputs."""
        return nan

    @property
    def samples(self) -> int | None:
        """The length of the batch."""
        return None

    @property
    def spread_of_outputs(self) -> float:
        """How much differs between samples of the outputs, in units of their size."""
        return nan

    @cached_property
    def spread(self) -> float:
        """How much differs between samples, of the outputs or of what their layer is given.

        What it is given counts only as far as it is not tiny: beside a bias it must be heard.
        """
        given = [min(1.0, 2 * sqrt(row.moment)) * row.variation for row in self.seen_again[-2:-1]]
        known = [self.spread_of_outputs, *given]
        return max((value for value in known if not isnan(value)), default=nan)

    @cached_property
    def scale(self) -> float:
        """The size of the loss: what changes of it are compared with."""
        known = [abs(value) for value in (self.chance, self.loss) if not isnan(value)]
        return min((value for value in known if value > 0), default=1.0)

    @cached_property
    def affine(self) -> bool:
        """Whether no activation is known to bend what goes through."""
        return False

    @cached_property
    def is_graph(self) -> bool:
        """Whether samples are known to be nodes of a graph."""
        return False

    @cached_property
    def redrawn(self) -> tuple[Repair, ...]:
        """What draws the weights anew; nothing where the activation is not known, or neighbours in a graph do as much."""
        return (reinitialized, normalized) if scales(self)[0] and not self.is_graph else ()

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """The modules for theory: those of Keras as what they are in torch, and none without entries, of which it has no say."""
        known = {name: as_torch(module) for name, module in self.modules.items()}
        return {name: each for name, each in known.items() if all(p.numel() for p in each.parameters(recurse=False))}

    def sensitivity(self, row: SignalRow) -> float:
        """‖g‖ ‖h‖ over the loss: the relative change of the loss per relative change of this layer's output."""
        return sqrt(row.gradient * row.moment) * prod(row.shape) / self.scale

    def change_of_loss(self, row: SignalRow) -> float:
        """The same, measured by changing the output; infinite where it cannot be."""
        return inf
