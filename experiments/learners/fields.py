"""Tasks with an answer at every place: pixels of images, tokens of texts, nodes of one graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lstab import seeded
from experiments.learners.dense import pixels
from experiments.learners.learner import HEALTHY, WIDTH, Task, enter, versions


def _frequencies(y: Tensor, count: int) -> Tensor:
    return (torch.bincount(y.flatten(), minlength=count) / y.numel()).log()


def _conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


images = pixels.view(-1, 1, 8, 8)[:768]
noisy = images + 0.7 * torch.randn(images.shape, generator=seeded(1))
enter(
    "noise",
    Task(noisy, noisy - images, F.mse_loss, lambda y: torch.zeros(1)),
    {key: lambda version=version: version.network(_conv, 1, 1, width=12) for key, version in versions().items()},
)
smooth = F.avg_pool2d(torch.randn(768, 1, 8, 8, generator=seeded(2)), 3, 1, 1) * 3
ground = (smooth[:, 0] > -0.5).long() + (smooth[:, 0] > 0.5)
enter(
    "segmentation",
    Task(smooth.tanh(), ground, F.cross_entropy, lambda y: _frequencies(y, 3)[:, None, None]),
    {key: lambda version=version: version.network(_conv, 1, 3, width=12) for key, version in HEALTHY.items()},
)


class Neighbours(nn.Module):
    """A linear layer of each token and the one before it: (batch, time, inputs) to (batch, time, outputs)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(2 * inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.cat([x, F.pad(x, (0, 0, 1, 0))[:, :-1]], -1))


TOKENS = 10


def of_tokens(logits: Tensor, tags: Tensor) -> Tensor:
    """The cross-entropy of (batch, time, tags)."""
    return F.cross_entropy(logits.flatten(0, 1), tags.flatten())


words = torch.randint(TOKENS, (1536, 12), generator=seeded(3))
tags = torch.where(words % 2 == 0, words // 2, (words.roll(1, 1) * (torch.arange(12) > 0)) // 2)
enter(
    "tags",
    Task(words, tags, of_tokens, lambda y: _frequencies(y, 5)),
    {
        key: lambda version=version: nn.Sequential(nn.Embedding(TOKENS, WIDTH), version.network(Neighbours, WIDTH, 5))
        for key, version in versions().items()
    },
)

NODES, KINDS = 200, 4
kind = torch.arange(NODES) % KINDS
chance = torch.where(kind[:, None] == kind, 0.08, 0.01)
edges = (torch.rand(NODES, NODES, generator=seeded(4)) < chance).triu(1).float()
edges = edges + edges.T + torch.eye(NODES)
smoothing = edges / (edges.sum(0)[:, None] * edges.sum(0)).sqrt()


class Convolution(nn.Module):
    """A linear layer of each node and its neighbours: (nodes, inputs) to (nodes, outputs)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return smoothing @ self.linear(x)


seen = torch.rand(NODES, generator=seeded(5)) < 0.6
traits = F.one_hot(kind, KINDS).float() @ torch.randn(KINDS, 8, generator=seeded(6))
traits = traits + torch.randn(NODES, 8, generator=seeded(7))
height = smoothing @ (smoothing @ traits @ torch.randn(8, 1, generator=seeded(8))).tanh()
height = (height - height.mean()) / height.std()


def _graph(name: str, targets: Tensor, loss, constant, outputs: int) -> None:
    data = Task(
        traits,
        targets,
        lambda answers, y: loss(answers[seen], y[seen]),
        lambda y: constant(y[seen]),
        held_out=lambda answers, y: loss(answers[~seen], y[~seen]),
    )
    enter(
        name,
        data,
        {key: lambda version=version: version.network(Convolution, 8, outputs) for key, version in versions().items()},
    )


_graph("kinds of nodes", kind, F.cross_entropy, lambda y: _frequencies(y, KINDS), KINDS)
_graph("numbers of nodes", height, F.mse_loss, lambda y: y.mean(0), 1)
