"""A task with data to train on and data held out; a network for it; and the ways in which a network is made."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

WIDTH = 32
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """Samples and a loss; the last third is held out. In one graph all nodes are seen, and the losses differ."""

    inputs: Tensor
    targets: Tensor
    loss: Loss
    constant: Callable[[Tensor], Tensor]  # an answer to all samples alike, given the targets to train on
    held_out: Loss | None = None  # the loss of a graph's other nodes

    def batch(self, model: nn.Module, size: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """What the model answers to a random batch, and its targets."""
        if self.held_out:
            return model(self.inputs), self.targets
        chosen = torch.randint(self._seen, (size,), generator=generator)
        return model(self.inputs[chosen]), self.targets[chosen]

    def first_batch(self, size: int) -> tuple[Tensor, Tensor]:
        """The inputs and targets to look at."""
        size = len(self.inputs) if self.held_out else size
        return self.inputs[:size], self.targets[:size]

    @torch.no_grad()
    def share(self, model: nn.Module) -> float:
        """The loss on what is held out, over that of the constant answer."""
        first = 0 if self.held_out else self._seen
        inputs, targets = self.inputs[first:], self.targets[first:]
        loss, outputs = self.held_out or self.loss, model(inputs)
        constant = self.constant(self.targets if self.held_out else self.targets[:first]).expand_as(outputs)
        return float(loss(outputs, targets) / loss(constant, targets))

    @property
    def _seen(self) -> int:
        return len(self.inputs) * 2 // 3


@dataclass(frozen=True)
class Learner:
    """A network for a task."""

    task: Task
    make: Callable[[], nn.Module]

    def model(self, seed: int) -> nn.Module:
        """The network of this seed; the streams stay as they are."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make()


LEARNERS: dict[str, Learner] = {}


def enter(task: str, data: Task, networks: dict[str, Callable[[], nn.Module]]) -> None:
    """Enters each of the networks under "TASK: NAME"."""
    LEARNERS.update({f"{task}: {name}": Learner(data, make) for name, make in networks.items()})


class Measured(nn.Module):
    """Inputs in another unit: scale · x + shift."""

    def __init__(self, scale: float, shift: float):
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


class Branch(nn.Module):
    """x + body(x)."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


@dataclass(frozen=True)
class Version:
    """Layers of one width, their activation, and how the weights begin."""

    activation: Callable[[], nn.Module]
    depth: int
    fill: Callable[[Tensor], object] | None = None  # None: as torch makes them, biases too
    unit: tuple[float, float] = (1.0, 0.0)  # of the inputs: scale and shift
    residual: bool = False

    def network(
        self, layer: Callable[[int, int], nn.Module], inputs: int, outputs: int, *, width: int = WIDTH
    ) -> nn.Module:
        """The network of these layers; layer(inputs, outputs) makes one."""
        layers: list[nn.Module] = [Measured(*self.unit)] if self.unit != (1.0, 0.0) else []
        for number in range(self.depth):
            one = nn.Sequential(layer(width if number else inputs, width), self.activation())
            layers.append(Branch(one) if self.residual and number else one)
        return filled(nn.Sequential(*layers, layer(width, outputs)), self.fill)


def filled(model: nn.Module, fill: Callable[[Tensor], object] | None) -> nn.Module:
    """The model, its weights filled and its biases 0."""
    for parameter in model.parameters() if fill else ():
        with torch.no_grad():
            fill(parameter) if parameter.dim() > 1 else parameter.zero_()
    return model


def gain(size: float) -> Callable[[Tensor], object]:
    """Fills with N(0, size² / inputs)."""
    return lambda weight: nn.init.normal_(weight, std=size / weight[0].numel() ** 0.5)


def every(number: float) -> Callable[[Tensor], object]:
    """Fills with one number."""
    return lambda weight: nn.init.constant_(weight, number)


def normal(std: float) -> Callable[[Tensor], object]:
    """Fills with N(0, std²)."""
    return lambda weight: nn.init.normal_(weight, std=std)


HEALTHY = {
    "2 ReLU, torch default": Version(nn.ReLU, 2),
    "4 GELU, gain √2": Version(nn.GELU, 4, gain(2**0.5)),
    "3 tanh, gain 1": Version(nn.Tanh, 3, gain(1.0)),
    "12 residual GELU, torch default": Version(nn.GELU, 12, residual=True),
}
TROUBLED = {
    "16 SiLU, torch default": Version(nn.SiLU, 16),
    "5 tanh, gain 8": Version(nn.Tanh, 5, gain(8.0)),
    "3 GELU, all weights 0.1": Version(nn.GELU, 3, every(0.1)),
    "6 sigmoid, torch default": Version(nn.Sigmoid, 6),
    "4 tanh, N(0, 0.01²)": Version(nn.Tanh, 4, normal(0.01)),
    "3 tanh, gain 1, inputs 100 x + 300": Version(nn.Tanh, 3, gain(1.0), (100.0, 300.0)),
}


def versions() -> dict[str, Version]:
    """The healthy ones, and two of the troubled ones, others than the task before has and the one before that."""
    turn = len({name.partition(":")[0] for name in LEARNERS}) % 3
    return HEALTHY | dict(list(TROUBLED.items())[turn::3])
