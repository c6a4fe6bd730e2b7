"""Tasks of fully connected networks: numbers of odd scale, codes, labels, ratings, decisions, an equation."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from d2lstab import seeded
from experiments.learners.learner import WIDTH, Task, Version, enter, filled, versions

SAMPLES = 1536


def _features(count: int = 8) -> Tensor:
    return torch.randn(SAMPLES, count, generator=seeded(1))


def _curves(x: Tensor, count: int) -> Tensor:
    """Smooth functions of the features, each with mean 0 and deviation 1: (samples, count)."""
    w, v = torch.randn(2, x.shape[1], count, generator=seeded(2)) / x.shape[1] ** 0.5
    y = (x @ w + 0.5).sin() * 1.5 + (x @ v).square()
    return (y - y.mean(0)) / y.std(0)


def _mean(y: Tensor) -> Tensor:
    return y.mean(0)


def _dense(version: Version, inputs: int, outputs: int):
    return lambda: version.network(nn.Linear, inputs, outputs)


def _enter(name: str, task: Task, inputs: int, outputs: int) -> None:
    enter(name, task, {key: _dense(version, inputs, outputs) for key, version in versions().items()})


x = _features()
_enter("one number", Task(x, _curves(x, 1), F.mse_loss, _mean), 8, 1)
_enter("six numbers", Task(x, _curves(x, 6), F.mse_loss, _mean), 8, 6)
_enter("prices", Task(x, 50 * _curves(x, 1) + 200, F.mse_loss, _mean), 8, 1)
_enter("hundredths", Task(x, 0.02 * _curves(x, 2), F.mse_loss, _mean), 8, 2)
_enter("absolute error", Task(x, 5 * _curves(x, 1), F.l1_loss, lambda y: y.median(0).values), 8, 1)

pixels, classes = (torch.tensor(each) for each in load_digits(return_X_y=True))
order = torch.randperm(len(pixels), generator=seeded(3))
pixels, classes = (pixels.float()[order] - 5) / 6, classes[order]
labels = torch.stack([classes % 2 == 0, classes > 4, classes % 3 == 0, classes % 5 == 2], 1).float()
_enter("autoencoder", Task(pixels, pixels, F.mse_loss, _mean), 64, 64)
_enter(
    "several labels",
    Task(pixels, labels, F.binary_cross_entropy_with_logits, lambda y: y.mean(0).logit()),
    64,
    4,
)


def regret(logits: Tensor, rewards: Tensor) -> Tensor:
    """What a policy misses, on average, of the best action's reward."""
    return (rewards.amax(1) - (logits.softmax(1) * rewards).sum(1)).mean()


def _best_action(rewards: Tensor) -> Tensor:
    return 50.0 * F.one_hot(rewards.mean(0).argmax(), rewards.shape[1])


_enter("actions", Task(x, _curves(x, 5), regret, _best_action), 8, 5)


def alike(codes: Tensor, classes: Tensor) -> Tensor:
    """The supervised contrastive loss: who else in the batch is of my class, told by cosines at temperature 0.1?"""
    codes = F.normalize(codes, dim=1)
    itself = torch.eye(len(codes), dtype=torch.bool)
    shares = (codes @ codes.T / 0.1).masked_fill(itself, -1e9).softmax(1)
    same = (classes[:, None] == classes) & ~itself
    return -(shares * same).sum(1)[same.any(1)].log().mean()


_enter("who is alike", Task(pixels, classes, alike, lambda y: torch.ones(8)), 64, 8)


class Equation(nn.Module):
    """u'' + u of u(x) = x (1 - x) net(x), to be made equal to a given function: (samples, 1) at points in [0, 1]."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            u = x * (1 - x) * self.net(4 * x - 2)
            slope = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
            return torch.autograd.grad(slope.sum(), x, create_graph=True)[0] + u


points = torch.rand(SAMPLES, 1, generator=seeded(4))
force = 5 * (6 * points).sin() + 3 * points
enter(
    "equation",
    Task(points, force, F.mse_loss, lambda y: torch.zeros(1)),
    {
        key: lambda version=version: Equation(version.network(nn.Linear, 1, 1))
        for key, version in versions().items()
        if version.activation is not nn.ReLU  # whose second derivative is 0
    },
)


class Ratings(nn.Module):
    """A number for a pair of a user and a film, from a vector of each."""

    def __init__(self, version: Version):
        super().__init__()
        self.user, self.film = (filled(nn.Embedding(20, WIDTH), version.fill) for _ in range(2))
        self.body = version.network(nn.Linear, 2 * WIDTH, 1)

    def forward(self, pair: Tensor) -> Tensor:
        return self.body(torch.cat([self.user(pair[:, 0]), self.film(pair[:, 1])], 1))[:, 0]


pairs = torch.randint(20, (SAMPLES, 2), generator=seeded(5))
tastes, kinds = torch.randn(2, 20, generator=seeded(6))
stars = 3 + tastes[pairs[:, 0]] + kinds[pairs[:, 1]]
enter(
    "ratings",
    Task(pairs, stars, F.mse_loss, _mean),
    {key: lambda version=version: Ratings(version) for key, version in versions().items()},
)
