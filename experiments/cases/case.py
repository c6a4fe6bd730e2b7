"""A failure that was reported in public, rebuilt small: as its owner had it, and mended."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, log, nan
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

Batch = tuple[Any, Any]


@dataclass(frozen=True)
class Run:
    """A network with its data, and how it was trained."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    loss: Callable[..., Tensor]
    optimizer: torch.optim.Optimizer
    score: Callable[[nn.Module, Tensor, Tensor], float]  # 1 is perfect, near 0 worthless
    steps: int = 200
    batch: int = 64
    step: Callable[[Tensor, torch.optim.Optimizer, int], None] | None = None  # in place of the usual one
    look: Batch | None = None  # the batch to look at, where it is not the first

    def first_batch(self) -> Batch:
        """What is shown to `diagnose`."""
        return self.look or (self.inputs[: self.batch], self.targets[: self.batch])

    def trained(self) -> float:
        """The score after training; NaN where the loss or a parameter does not stay finite."""
        generator, order = torch.Generator().manual_seed(0), torch.empty(0, dtype=torch.long)
        self.model.train()
        for number in range(self.steps):
            if len(order) < self.batch:
                order = torch.randperm(len(self.inputs), generator=generator)
            chosen, order = order[: self.batch], order[self.batch :]
            loss = self.loss(self.model(self.inputs[chosen]), self.targets[chosen])
            (self.step or usual_step)(loss, self.optimizer, number)
            if not isfinite(float(loss.detach())):
                return nan
        if not all(bool(each.isfinite().all()) for each in self.model.parameters()):
            return nan
        return self.score(self.model, self.inputs, self.targets)


@dataclass(frozen=True)
class Case:
    """A report: what is wrong, where it stands, and how to make it."""

    fault: str  # the verdict that fits best, or "" where one look at one batch cannot tell
    source: str  # the report, or the custom that it is an example of
    fails: float  # the score below which training has failed
    learns: float  # the score above which it has not
    make: Callable[[bool], Run]

    def run(self, fixed: bool, seed: int) -> Run:
        """As it came, or fixed: the same data and, as far as they are drawn alike, the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make(fixed)


CASES: dict[str, Case] = {}


def case(fault: str, source: str, fails: float, learns: float) -> Callable:
    """Enters the function decorated into CASES, under its name with spaces."""

    def entered(make: Callable[[bool], Run]) -> Callable[[bool], Run]:
        CASES[make.__name__.replace("_", " ")] = Case(fault, source, fails, learns, make)
        return make

    return entered


def usual_step(loss: Tensor, optimizer: torch.optim.Optimizer, number: int) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def digits(size: float = 1.0) -> Batch:
    """All digits, mixed; each feature centred, and all of this root mean square."""
    x, y = (torch.tensor(each) for each in load_digits(return_X_y=True))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x = x[order].float() - x.float().mean(0)
    return x * (size / x.square().mean().sqrt()), y[order]


def answers(model: nn.Module, inputs: Tensor | tuple[Tensor, ...]) -> Any:
    with torch.no_grad():
        return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """The share of classes named right, of outputs (…, classes)."""
    return float((answers(model, inputs).argmax(-1) == targets).double().mean())


def in_evaluation(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """`accuracy`, in evaluation mode."""
    return accuracy(model.eval(), inputs, targets)


def above_half(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """The share of two classes told apart by the sign of a logit."""
    return float(((answers(model, inputs) > 0).flatten() == (targets > 0.5).flatten()).double().mean())


def explained(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """The share of the targets' variance that is explained."""
    error = answers(model, inputs).double().flatten() - targets.double().flatten()
    return float(1 - error.square().mean() / targets.double().var(unbiased=False))


def likelihood(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """1 where each right class has probability 1, 0 where all are as likely; logits (..., classes)."""
    logits = answers(model, inputs)
    return 1 - float(per_word(logits, targets)) / log(logits.shape[-1])


def per_word(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of outputs (batch, time, words)."""
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def sgd(model: nn.Module, rate: float, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([each for each in model.parameters() if each.requires_grad], rate, **options)


def adam(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam([each for each in model.parameters() if each.requires_grad], rate)


def stack(
    *widths: int, f: Callable[[], nn.Module] = nn.ReLU, std: Callable[[int], float] | None = None
) -> nn.Sequential:
    """Linear layers with an activation between them; weights of a std that depends on fan_in, or torch's own."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), f()]
        if std is not None:
            nn.init.normal_(layers[-2].weight, std=std(a))
            nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


def he(fan_in: int) -> float:
    return (2 / fan_in) ** 0.5


class Encoder(nn.Module):
    """Torch's transformer encoder of a width of 32 over 16 words, with learned places: (batch, length) to logits."""

    def __init__(self, length: int, *, heads: int, layers: int, norm_first: bool):
        super().__init__()
        self.words, self.places = nn.Embedding(16, 32), nn.Parameter(torch.randn(length, 32))
        layer = nn.TransformerEncoderLayer(32, heads, 64, dropout=0.0, batch_first=True, norm_first=norm_first)
        self.body = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(32), enable_nested_tensor=False)
        self.head = nn.Linear(32, 16)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.body(self.words(words) + self.places))
