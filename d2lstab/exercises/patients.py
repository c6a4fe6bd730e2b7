"""Patients of chapter 13: failures that were reported in public, rebuilt small."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer

from ..datasets import Dataset
from ..randomness import normal, seeded


class Patient(NamedTuple):
    """What somebody trained, as they had it."""

    make: Callable[[int], nn.Module]  # of a seed
    data: Dataset
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: Callable[..., Optimizer]  # of the parameters
    batch: int


class _Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(128, 256), nn.LayerNorm(256)
        self.head = nn.Linear(256, 128, bias=False)
        nn.init.normal_(self.head.weight)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.norm(self.embedding(words)))


def large_head() -> Patient:
    """A last layer of variance 1 on normalized features; each word is to be named after a fixed permutation."""
    words = torch.randint(128, (250, 16), generator=seeded(0), device="cpu")
    text = _split(words, torch.randperm(128, generator=seeded(1), device="cpu")[words])
    return Patient(lambda seed: _Words(), text, _per_word, partial(Adam, lr=1e-3), 8)


def raw_features() -> Patient:
    """A small network on features between 0.001 and 4,000."""
    from sklearn.datasets import load_breast_cancer

    features, benign = (torch.from_numpy(each) for each in load_breast_cancer(return_X_y=True))
    order = torch.randperm(len(features), generator=seeded(0), device="cpu")

    def make(seed: int) -> nn.Module:
        return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))

    tumours = _split(features[order].float(), benign[order])
    return Patient(make, tumours, F.cross_entropy, partial(SGD, lr=0.01, momentum=0.9), 64)


def sigmoid_at_the_end() -> Patient:
    """The regression of a line up to 85 by a network that ends in a sigmoid."""
    x = 10 * torch.rand(250, 1, generator=seeded(0), device="cpu")

    def make(seed: int) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 8), nn.Sigmoid(), nn.Linear(8, 1), nn.Sigmoid())

    line = _split(x, 8.5 * x + 3 * normal(250, 1, generator=seeded(1)))
    return Patient(make, line, F.mse_loss, partial(SGD, lr=0.02, momentum=0.9), 64)


def batch_of_one() -> Patient:
    """The class of a picture is its brightness, which batch normalization over a batch of one subtracts."""
    brightness = torch.arange(300, device="cpu") % 3
    x = (brightness - 1.0)[:, None, None, None] + normal(300, 1, 6, 6, generator=seeded(0)) / 2

    def make(seed: int) -> nn.Module:
        layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

    return Patient(make, _split(x, brightness), F.cross_entropy, partial(SGD, lr=0.02, momentum=0.9), 1)


def _per_word(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def _split(inputs: Tensor, targets: Tensor) -> Dataset:
    cut = len(inputs) * 4 // 5
    return Dataset(inputs[:cut], targets[:cut], inputs[cut:], targets[cut:])
