"""All that the rules look at: one look or two, and what was computed from them once."""

from contextlib import suppress
from functools import cached_property, partial
from inspect import getclosurevars, isfunction
from math import inf, isfinite, isnan, nan, prod, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from ..containers import tensors_in
from ..randomness import seeded
from ..recording import SignalRow
from ..recording.statistics import norm
from ..trainability.forecast import Trainability
from .answers import chance, spread
from .attention import Gaze
from .chaos import strayed
from .expectation import LAYERS
from .look import Look, examine, loss_now
from .measurements import Measurements
from .origin import Origin
from .subject import Subject, floating, passed
from .trial import LONG, SHORT, Trial, attempt

NOT_MEASURED = Trainability(nan, nan, note="a pass is not finite")
_SHAKEN = 0.01  # of each entry
_MOST_STEPS = 4  # a zero head, a zero gate, a zero layer in a block, and one more


class Evidence(Measurements):
    """What is known about a borrowed network; only good while it is borrowed."""

    def __init__(self, subject: Subject, first: Look):
        super().__init__(first.signals.rows, subject.model, first.loss)
        self.subject, self.first = subject, first
        self.trial: Trial | None = None
        self.trainability = NOT_MEASURED
        self.broken = ""  # the pass that is not finite: "forward" or "backward"
        self.origin: Origin | None = None  # where that begins, if an operation was caught at it

    @cached_property
    def look(self) -> Look:
        """The first look, or one after small steps: a weight that is 0 hides all that lies behind it."""
        again = after_small_steps(self.subject, self.first)
        return again if isfinite(again.loss) else self.first

    @cached_property
    def seen_again(self) -> list[SignalRow]:
        """The rows of that look."""
        return self.look.signals.rows

    @cached_property
    def chance(self) -> float:
        """The loss of a constant answer."""
        return nan if self.first.output is None else chance(self.subject, self.first.outputs)

    @property
    def gazes(self) -> list[Gaze]:
        """The calls of attention."""
        return self.first.gazes

    @property
    def spread_of_outputs(self) -> float:
        """How much differs between samples of the outputs, in units of their size."""
        return spread(self.look.output, self.samples)

    def tried(self, factor: float = 1.0, steps: int = 0) -> Trial:
        """The trial of the optimizer, which there must be, at its learning rates times the factor.

        Without a number, so many steps as a network of this size is tried with.
        """
        least = min(self.first.loss, self.chance if self.chance > 0 else inf)
        enough = 0.1 * least if least > 0 else -inf
        trial = attempt(self.subject, steps or (LONG if self.small else SHORT), factor, enough)
        assert trial is not None
        return trial

    @cached_property
    def strayed(self) -> float:
        """How far outputs move when inputs move a little, in units of their size; NaN where not measured."""
        return strayed(self.subject, self.first.output)

    @cached_property
    def affine(self) -> bool:
        """Whether outputs go up by as much when inputs are doubled as they do from inputs of 0: no activation bends them."""
        if self.input is None or self.first.output is None:
            return False
        with torch.no_grad(), suppress(Exception):  # some models refuse inputs that are not what they were
            none, once, twice = (floating(passed(self.subject, partial(torch.mul, other=k))) for k in (0, 1, 2))
            if none is not None and once is not None and twice is not None:
                size = float((twice - none).abs().max())
                return bool(torch.allclose(twice - once, once - none, rtol=0, atol=1e-3 * size))
        return False

    @cached_property
    def is_graph(self) -> bool:
        """Whether a matrix of samples by samples, or a list of edges, comes with the inputs, or is what the model refers to."""
        subject, batch = self.subject, self.subject.batch
        kept: list[Any] = [each for module in subject.model.modules() for each in vars(module).values()]
        for kind in {type(module) for module in subject.model.modules()}:
            kept += _referred_to(kind.forward)
        given = tensors_in((subject.inputs, subject.keywords))
        if len(given) > 1:  # a single one holds the samples' features, whose number may be theirs by chance
            kept += given
        return any(
            each.layout is not torch.strided
            or each.shape[-2:] == (batch, batch)
            or (each.dim() == 2 and 2 in each.shape and not each.is_floating_point() and not each.is_complex())
            for each in tensors_in((list(subject.model.buffers()), kept))
            if not isinstance(each, nn.Parameter)
        )

    @cached_property
    def small(self) -> bool:
        """Whether trying this network again and again is cheap."""
        size = sum(each.numel() for each in self.subject.model.parameters())
        return size <= 1e7 and sum(map(self._multiplications, self.rows)) <= 1e9

    def _multiplications(self, row: SignalRow) -> float:
        """What a layer's call costs, on the way forward; 0 where it is little, or not known."""
        module = self.layers.get(row.name)
        if isinstance(module, LAYERS):
            return prod(row.shape) * module.weight[0].numel()
        if isinstance(module, nn.RNNBase):
            return prod(row.shape[:-1]) * sum(each.numel() for each in module.parameters())
        return 0

    @cached_property
    def input(self) -> Tensor | None:
        """The first floating input, cut from its graph."""
        found = tensors_in((self.subject.inputs, self.subject.keywords))
        return next((each.detach() for each in found if each.is_floating_point()), None)

    @property
    def samples(self) -> int | None:
        """The length of the batch."""
        return self.subject.batch

    @property
    def input_moment(self) -> float:
        """E x² of the inputs."""
        return nan if self.input is None else float(norm(self.input.detach())) ** 2 / self.input.numel()

    def change_of_loss(self, row: SignalRow) -> float:
        """The relative change of the loss per relative change of this row's outputs, measured; inf where it cannot be."""
        module, calls, generator = self.modules.get(row.name), [], seeded(0)
        if module is None:
            return inf

        def shake(_, __, output):
            calls.append(None)
            if len(calls) != row.call or not isinstance(output, Tensor) or not output.is_floating_point():
                return None
            noise = torch.randn(output.shape, generator=generator, device="cpu").to(output)
            return output * (1 + _SHAKEN * noise)

        before, handle = loss_now(self.subject), module.register_forward_hook(shake)
        try:
            return abs(loss_now(self.subject) - before) / self.scale / _SHAKEN
        finally:
            handle.remove()

    @cached_property
    def copied(self) -> list[str]:
        """The names of trained weights whose units, entries of the first axis, agree in values and in gradients."""
        named, gradients = dict(self.subject.model.named_parameters()), self.look.gradients
        return [
            name
            for name, gradient in gradients.items()
            if gradient is not None and gradient.any() and are_copies(named[name]) and are_copies(gradient)
        ]

    @cached_property
    def untouched(self) -> set[str]:
        """The names of trained weights without a gradient, or with one that is 0 everywhere."""
        gradients = self.look.gradients.items()
        return {name for name, gradient in gradients if gradient is None or not gradient.any()}

    @cached_property
    def unreached(self) -> set[str]:
        """The names of trained weights that the loss does not depend on by its graph."""
        return {name for name, gradient in self.look.gradients.items() if gradient is None}

    def forget_gradients(self) -> None:
        """Frees the gradients, after all that is learnt from them: they are as large as the model."""
        _ = self.look, self.copied, self.untouched, self.unreached
        self.first.gradients.clear()
        self.look.gradients.clear()

    @property
    def trains(self) -> float:
        """How likely it trains: with the optimizer given, or with the better of the two; NaN where not measured."""
        answers, optimizer = self.trainability, self.subject.optimizer
        if optimizer is None:
            return max((each for each in (answers.sgd, answers.adam) if not isnan(each)), default=nan)
        return answers.sgd if isinstance(optimizer, torch.optim.SGD) else answers.adam


def after_small_steps(subject: Subject, look: Look) -> Look:
    """Another look, after as many small steps as there are zeros one behind the other; the same where there are none."""
    hidden = _hidden(subject, look)
    try:
        for _ in range(_MOST_STEPS):
            if not hidden:
                break
            _step(subject, look)
            look, before = examine(subject), hidden
            hidden = _hidden(subject, look)
            if not isfinite(look.loss) or hidden >= before:
                break
    finally:
        subject.restore()
    return look


def _hidden(subject: Subject, look: Look) -> set[str]:
    """What nothing is known of: parameters whose gradient is 0 everywhere, and "" where all samples look the same."""
    names = {name for name, gradient in look.gradients.items() if gradient is not None and not gradient.any()}
    return names | ({""} if spread(look.output, subject.batch) == 0 else set())


@torch.no_grad()
def _step(subject: Subject, look: Look) -> None:
    """Each parameter moved down its gradient by a tenth of the size such a parameter usually has."""
    named = dict(subject.model.named_parameters())
    for name, gradient in look.gradients.items():
        if gradient is None or not gradient.any() or not gradient.isfinite().all():
            continue
        parameter = named[name]
        usual = 1 / sqrt(max(1, parameter[0].numel())) if parameter.dim() > 1 else 0.1
        size = max(float(norm(parameter)) / sqrt(parameter.numel()), usual)
        direction = gradient / gradient.abs().max()  # its square would underflow
        parameter.sub_(direction * (0.1 * size * sqrt(direction.numel()) / norm(direction)).to(parameter.dtype))


def _referred_to(function: Any) -> list[Tensor]:
    """The tensors of outer functions and of its module that a function names, as code in a notebook does."""
    if not isfunction(function):
        return []
    try:
        found = getclosurevars(function)
    except ValueError:  # it names what is assigned only later
        return []
    return [each for each in (*found.nonlocals.values(), *found.globals.values()) if isinstance(each, Tensor)]


def are_copies(tensor: Tensor) -> bool:
    """Whether there are several entries of the first axis, and all agree to the rounding of their dtype."""
    if tensor.dim() < 2 or len(tensor) < 2 or tensor.layout is not torch.strided:
        return False
    rows = tensor.detach().flatten(1)
    size = float(norm(rows)) / rows.numel() ** 0.5
    rounding = max(1e-4, 8 * torch.finfo(rows.dtype).eps)  # kernels add up the terms of equal units in different orders
    return float((rows - rows[0]).abs().max()) <= rounding * size or size == 0
