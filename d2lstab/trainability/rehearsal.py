"""A few steps of training on private numbers: what a network would learn, without its noticing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf, isfinite, log, log10, nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..containers import each_tensor, tensors_in
from ..randomness import seeded
from ..recording.keras import of_keras, stateless
from ..recording.statistics import dense

_CODE = 10  # numbers in the code that a network without targets is taught to give each sample
_SHIFTS = 15  # ways in which samples are exchanged
_MIXED = 0.3  # of another sample in each one nearby
MakeOptimizer = Callable[..., torch.optim.Optimizer]
_Numbers = dict[str, Tensor]


class Unmeasurable(Exception):
    """Why a network cannot be tried, in words for its user."""


@dataclass(frozen=True)
class Rehearsal:
    """A network, some samples and a loss. The network is never written to."""

    model: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    targets: Any
    loss: Callable[..., Tensor]
    samples: int

    def numbers(self) -> tuple[_Numbers, _Numbers]:
        """Fresh copies of the parameters that learn, and of the other parameters and buffers."""
        parameters = dict(self.model.named_parameters())
        learning = {name: _widened(each.detach()).clone() for name, each in parameters.items() if each.requires_grad}
        other = {name: each for name, each in parameters.items() if not each.requires_grad}
        other |= dict(self.model.named_buffers())
        return (
            {name: each.requires_grad_() for name, each in learning.items()},
            {name: _widened(each.detach()).clone() for name, each in other.items()},
        )

    def outputs(self, learning: _Numbers, other: _Numbers) -> Any:
        """What the network makes of the samples with these numbers in place of its own."""
        arguments, keywords = each_tensor(Tensor.clone, (self.arguments, self.keywords))  # some work in place
        call = stateless if of_keras(self.model) else functional_call
        return call(self.model, learning | other, arguments, keywords)

    def part(self, samples: int) -> "Rehearsal":
        """The same with so many samples, evenly spread, for batches come sorted too."""
        if samples >= self.samples:
            return self
        indices = torch.linspace(0, self.samples - 1, samples, device="cpu").round().long()

        def chosen(each: Tensor) -> Tensor:
            return each[indices.to(each.device)] if each.dim() and len(each) == self.samples else each

        arguments, keywords, targets = each_tensor(chosen, (self.arguments, self.keywords, self.targets))
        return replace(self, arguments=arguments, keywords=keywords, targets=targets, samples=samples)

    def nearby(self) -> "Rehearsal":
        """The same with a little of another sample mixed into each, so far as inputs are floating numbers."""

        def mixed(each: Tensor) -> Tensor:
            if not each.is_floating_point() or each.dim() == 0 or len(each) != self.samples:
                return each
            made = each.lerp(each.roll(self.samples // 2, 0), _MIXED)  # half a batch away, for batches come sorted too
            return made.where(made.isfinite(), each)  # masks may hold -inf

        arguments, keywords = each_tensor(mixed, (self.arguments, self.keywords))
        return replace(self, arguments=arguments, keywords=keywords)

    def exchanged(self, shift: int) -> Any:
        """The targets, each given to another sample."""

        def rolled(each: Tensor) -> Tensor:
            return each.roll(shift, 0) if each.dim() and len(each) == self.samples else each

        return each_tensor(rolled, self.targets)

    def alike(self, outputs: Any) -> Any:
        """The outputs, every sample's replaced by their mean."""

        def mean(each: Tensor) -> Tensor:
            varies = each.dim() and len(each) == self.samples and each.is_floating_point()
            return each.mean(0, keepdim=True).expand_as(each) if varies else each

        return each_tensor(mean, outputs)

    def wanted(self, outputs: Any) -> Tensor:
        """Where the loss moves each sample's answer once all answers are alike: like the first output that can learn."""
        answers = [each for each in tensors_in(outputs) if each.requires_grad and each.dim()]
        if not answers or len(answers[0]) < self.samples:
            raise Unmeasurable("no output has an entry for each sample")
        alike = each_tensor(lambda each: each.detach().clone().requires_grad_(each.requires_grad), self.alike(outputs))
        first = next(each for each in tensors_in(alike) if each.requires_grad and each.dim())
        slope = torch.autograd.grad(self.loss(alike, self.targets), first, allow_unused=True)[0]
        return torch.zeros_like(first) if slope is None else slope

    def distinguishes(self) -> bool:
        """Whether the targets change when samples are exchanged."""
        pairs = zip(tensors_in(self.targets), tensors_in(self.exchanged(1)))
        return any(not torch.equal(a, b) for a, b in pairs)


@dataclass(frozen=True)
class Outcome:
    """What a few steps brought."""

    numbers: tuple[_Numbers, _Numbers]
    rate: float
    learnt: float  # by what share the loss of nearby samples rises when they are exchanged, above what it was
    excess: float  # by how many decades the loss is below that of a constant answer


def rehearsal(model: nn.Module, inputs: Any, targets: Any, loss: Callable[..., Tensor] | None) -> Rehearsal:
    """The network and its samples, ready; without targets it is taught a random code for every sample.

    inputs: a tensor, the tuple or dict of what the model takes, or (tuple, dict).
    """
    if isinstance(inputs, tuple) and list(map(type, inputs)) == [tuple, dict]:
        arguments, keywords = inputs
    elif isinstance(inputs, dict):
        arguments, keywords = (), inputs
    else:
        arguments, keywords = (inputs if type(inputs) is tuple else (inputs,)), {}
    arguments, keywords, targets = each_tensor(lambda each: _widened(each.detach()), (arguments, keywords, targets))
    counted = [each for each in tensors_in((targets, arguments, keywords)) if each.dim()]
    samples = len(counted[0]) if counted else 0
    if targets is None:
        targets = torch.randn(samples, _CODE, generator=seeded(0), device="cpu").to(
            counted[0].device if counted else None
        )
        loss = _code_loss
    return Rehearsal(model, arguments, keywords, targets, loss or _usual_loss, samples)


def outcomes(
    tried: Rehearsal,
    optimizer: MakeOptimizer,
    rates: tuple[float, ...],
    steps: int,
    stepped: Callable[[], object] = lambda: None,
) -> Iterator[Outcome]:
    """What so many steps bring at each rate at which the loss stays finite, one after the other.

    stepped: called after each step.
    """
    near = tried.nearby()
    start = _learnt(near, tried.numbers())
    for rate in rates:
        numbers = _train(tried, optimizer, rate, steps, stepped)
        if numbers is not None:
            learnt = _learnt(near, numbers) - start if isfinite(start) else -inf
            yield Outcome(numbers, rate, learnt, _excess(tried, numbers))


def _train(
    tried: Rehearsal, optimizer: MakeOptimizer, rate: float, steps: int, stepped: Callable[[], object]
) -> tuple[_Numbers, _Numbers] | None:
    """The numbers after so many steps, or None where the loss does not stay finite."""
    learning, other = tried.numbers()
    stepping, size = optimizer(list(learning.values()), lr=rate), None
    for _ in range(steps):
        outputs = tried.outputs(learning, other)
        loss = tried.loss(outputs, tried.targets)
        if not loss.isfinite():
            return None
        size = size or _size(loss, outputs, tried.targets)
        gradients = torch.autograd.grad(loss / size, list(learning.values()), allow_unused=True)
        for parameter, gradient in zip(learning.values(), gradients):
            parameter.grad = None if gradient is None else dense(gradient)
        stepping.step()
        stepped()
    for parameter in learning.values():
        parameter.grad = None
    return learning, other


def _size(loss: Tensor, outputs, targets) -> float:
    """The loss's slope per answer, about 1 for the mean cross-entropy: what makes rates mean the same for every loss."""
    found = [each for each in tensors_in(outputs) if each.requires_grad]
    slopes = torch.autograd.grad(loss, found, retain_graph=True, allow_unused=True)
    square = sum(float(each.abs().double().square().sum()) for each in slopes if each is not None)
    answers = max((each.numel() for each in tensors_in(targets)), default=1)
    return (square * answers) ** 0.5 if isfinite(square) and square > 0 else 1.0


@torch.no_grad()
def _learnt(tried: Rehearsal, numbers: tuple[_Numbers, _Numbers]) -> float:
    """The share of the loss that is saved by knowing which sample is which; -inf where a loss is not finite."""
    outputs = tried.outputs(*numbers)
    right = float(tried.loss(outputs, tried.targets))
    shifts = range(1, tried.samples, max(1, tried.samples // _SHIFTS))
    wrong = sum(float(tried.loss(outputs, tried.exchanged(shift))) for shift in shifts) / max(1, len(shifts))
    share = (wrong - right) / max(abs(wrong), abs(right), 1e-300)
    return share if isfinite(share) else -inf


@torch.no_grad()
def _excess(tried: Rehearsal, numbers: tuple[_Numbers, _Numbers]) -> float:
    """log10 of a constant answer's loss, `uninformed` or the mean, over the loss; -inf where that is not finite."""
    outputs = tried.outputs(*numbers)
    right = float(tried.loss(outputs, tried.targets))
    if not isfinite(right):
        return -inf
    constants = [each_tensor(uninformed, outputs), tried.alike(outputs)]
    levels = [float(tried.loss(constant, tried.targets)) for constant in constants]
    level = min(filter(isfinite, levels), default=nan)
    return log10(level / right) if level > 0 and right > 0 else float(right < level) - float(right > level)


def uninformed(output: Tensor) -> Tensor:
    """What knows nothing in place of an output: 0, or equal shares where it is the logarithms of probabilities."""
    for axis in {output.dim() - 1, 1} if output.is_floating_point() and output.dim() > 1 else ():
        sums = output.detach().double().exp().sum(axis)
        if output.shape[axis] > 1 and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            return torch.full_like(output, -log(output.shape[axis]))
    return torch.zeros_like(output)


def _code_loss(outputs, codes: Tensor) -> Tensor:
    found = [
        each for each in tensors_in(outputs) if each.is_floating_point() and each.dim() and len(each) == len(codes)
    ]
    if not found:
        raise Unmeasurable("no output has an entry for each sample")
    answer = found[0]
    answer = answer.flatten(1)[:, : codes.shape[1]]
    return F.mse_loss(answer, codes[:, : answer.shape[1]].to(answer.dtype))


def _usual_loss(outputs, targets: Tensor) -> Tensor:
    """Cross-entropy for classes, squared error for numbers."""
    answer = next(each for each in tensors_in(outputs) if each.is_floating_point() and each.dim())
    if targets.is_floating_point():
        return F.mse_loss(answer, targets.to(answer.dtype))
    return F.cross_entropy(answer.flatten(0, -2), targets.flatten())


def _widened(each: Tensor) -> Tensor:
    """Half precision as float32, in which its trainers keep their weights too."""
    return each.float() if each.dtype in (torch.float16, torch.bfloat16) else each
