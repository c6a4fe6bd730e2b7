"""A report met after the rules were written: as `experiments.cases.case`, with pairs of inputs and loops of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import isfinite, nan
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.cases import case as cases
from experiments.cases.case import Batch, answers, usual_step

Watch = Callable[[Tensor], Any]  # is told the loss after each step


@dataclass(frozen=True)
class Run(cases.Run):
    """A network with its data, and how it was trained; inputs and targets may be tuples of tensors."""

    steps: int = 300
    batch: int = 32
    loop: Callable[[Watch], None] | None = None  # in place of all steps
    scale: float = 1.0  # what a loop multiplies its loss by

    def first_batch(self) -> Batch:
        """What is shown to `diagnose`: 64 samples, or a batch where that is said to be smaller."""
        shown = slice(self.batch if self.batch < 32 else 64)
        return self.look or (part(self.inputs, shown), part(self.targets, shown))

    def trained(self, watch: Watch = lambda loss: None) -> float:
        """The score after training; NaN where a loss or a parameter does not stay finite."""
        self.model.train()
        if self.loop is not None:
            self.loop(watch)
        elif not self._finite_steps(watch):
            return nan
        if not all(bool(each.isfinite().all()) for each in self.model.parameters()):
            return nan
        return self.score(self.model, self.inputs, self.targets)

    def _finite_steps(self, watch: Watch) -> bool:
        """Whether all losses of the usual loop are finite; the first that is not ends it."""
        samples = len(self.inputs[0] if isinstance(self.inputs, tuple) else self.inputs)
        generator, order = torch.Generator().manual_seed(0), torch.empty(0, dtype=torch.long)
        for number in range(self.steps):
            if len(order) < self.batch:
                order = torch.randperm(samples, generator=generator) if self.batch < samples else torch.arange(samples)
            chosen, order = order[: self.batch], order[self.batch :]
            inputs = part(self.inputs, chosen)
            outputs = self.model(*inputs) if isinstance(inputs, tuple) else self.model(inputs)
            loss = self.loss(outputs, part(self.targets, chosen))
            (self.step or usual_step)(loss, self.optimizer, number)
            watch(loss)
            if not isfinite(float(loss.detach())):
                return False
        return True


@dataclass(frozen=True)
class Case:
    """A report: what could be said of its first batch, where it stands, and how to make it."""

    faults: tuple[str, ...]  # the verdicts that name it, any of them; none where one batch cannot tell
    source: str
    fails: float  # the score below which training has failed
    learns: float  # the score above which it has not
    loop: str  # what `Monitor` could say where one batch cannot tell, or ""
    make: Callable[[bool, int], Run]

    def run(self, fixed: bool, seed: int) -> Run:
        """As it came, or fixed: the same data and, as far as they are drawn alike, the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4000 + seed)
            return self.make(fixed, seed)


CASES: dict[str, Case] = {}


def case(faults: str, source: str, fails: float, learns: float, loop: str = "") -> Callable:
    """Enters the function decorated into CASES, under its name with spaces."""

    def entered(make: Callable[[bool, int], Run]) -> Callable[[bool, int], Run]:
        CASES[make.__name__.replace("_", " ")] = Case(tuple(faults.split()), source, fails, learns, loop, make)
        return make

    return entered


def part(these: Any, chosen: Any) -> Any:
    """Some samples of a tensor, or of each in a tuple."""
    return tuple(part(each, chosen) for each in these) if isinstance(these, tuple) else these[chosen]


def share(found: Tensor, wanted: Tensor) -> float:
    """The share of the variance of `wanted` that `found` explains."""
    error = found.double().flatten() - wanted.double().flatten()
    return float(1 - error.square().mean() / wanted.double().var(unbiased=False))


@cache
def digits() -> Batch:
    """All digits in the order they come in, from 0 to 1."""
    x, y = (torch.tensor(each) for each in load_digits(return_X_y=True))
    return x.float() / 16, y


def standard(x: Tensor) -> Tensor:
    """Each feature with mean 0 and a standard deviation of 1; of less where it hardly varies."""
    return (x - x.mean(0)) / (x.std(0) + 1e-6).clamp(min=0.05)


def discs(samples: int, side: int, radius: int, seed: int) -> Batch:
    """Images (samples, 1, side, side) with one bright disc on noise, and its mask."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(samples, 2, 1, 1, generator=generator) * (side - 2 * radius) + radius
    down, right = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inside = ((down - centre[:, 0]) ** 2 + (right - centre[:, 1]) ** 2) <= radius**2
    mask = inside.float()[:, None]
    return mask + 0.6 * torch.randn(samples, 1, side, side, generator=generator), mask


def dice(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """The overlap of the targets with what has a logit above 0."""
    found = (answers(model, inputs) > 0).float()
    return float(2 * (found * targets).sum() / (found.sum() + targets.sum() + 1e-9))


class UNet(nn.Module):
    """One level down and up again; `last` after the head."""

    def __init__(self, *last: nn.Module, width: int = 8):
        super().__init__()
        self.down, self.middle = twice(1, width), twice(width, 2 * width)
        self.up = twice(3 * width, width)
        self.grow = nn.ConvTranspose2d(2 * width, 2 * width, 2, stride=2)
        self.head = nn.Sequential(nn.Conv2d(width, 1, 1), *last)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = self.grow(self.middle(F.max_pool2d(fine, 2)))
        return self.head(self.up(torch.cat([fine, coarse], 1)))


def twice(a: int, b: int) -> nn.Sequential:
    """Two convolutions, each with BatchNorm and ReLU."""
    layers = [[nn.Conv2d(i, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()] for i in (a, b)]
    return nn.Sequential(*layers[0], *layers[1])
