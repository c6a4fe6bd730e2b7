"""Which networks train whose task is another than to name a class: what the forecast of `diagnose` is fitted to.

    python -m experiments.tasks [TASK ...]

Six tasks, each with networks of random depth, activation and scale, healthy and not, trained with SGD (momentum 0.9)
and Adam at several rates. A row is a network: its settings, and the share of a constant answer's loss that is left on
the whole data at the best rate. Up to `TRAINED` it has trained, above `UNTRAINED` it has not; between them it is not counted.
"""

import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lstab import digits
from experiments.stored import calculate

TASKS = ("regression", "autoencoder", "sequence", "language", "graph", "physics")
NETWORKS = 24  # of each task
STEPS, BATCH = 300, 64
SGD_RATES, ADAM_RATES = (0.3, 0.1, 0.03, 0.01, 0.001), (1e-2, 1e-3, 1e-4)
ENOUGH, TRAINED, UNTRAINED = 0.15, 0.35, 0.7  # of the loss of a constant answer
ROWS = [f"{task} {number}" for task in TASKS for number in range(NETWORKS)]
SETTINGS = {"steps": STEPS, "batch": BATCH, "sgd": SGD_RATES, "adam": ADAM_RATES, "enough": ENOUGH}
_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "sigmoid": nn.Sigmoid, "silu": nn.SiLU}
Loss = Callable[[Tensor, Tensor], Tensor]


def configuration(row: str) -> dict:
    """What the network of a row is made of, drawn from its name."""
    draw = random.Random(row)
    return {
        "seed": draw.randrange(1000),
        "depth": draw.choice([1, 2, 3, 4, 6, 9, 14, 20]),
        "width": draw.choice([16, 32, 64]),
        "activation": draw.choice(list(_ACTIVATIONS)),
        "gain": draw.choice([None, None, None, 0.1, 0.3, 0.6, 1.0, 1.0, 1.4, 1.4, 2.0, 4.0, 15.0]),  # None: torch's own
        "inputs": draw.choice([1.0] * 6 + [0.02, 30.0]),
        "skips": draw.random() < 0.25,
        "cell": draw.choice(["LSTM", "GRU", "RNN"]),
        "time": draw.choice([6, 12, 30]),
    }


class _Skip(nn.Module):
    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, h: Tensor) -> Tensor:
        return h + self.body(h)


class _Over(nn.Module):
    """A layer whose outputs are averaged over neighbours."""

    def __init__(self, layer: nn.Module, graph: Tensor):
        super().__init__()
        self.layer = layer
        self.register_buffer("graph", graph)

    def forward(self, h: Tensor) -> Tensor:
        return self.graph @ self.layer(h)


class _Reads(nn.Module):
    def __init__(self, config: dict, inputs: int):
        super().__init__()
        self.body = getattr(nn, config["cell"])(inputs, config["width"], min(config["depth"], 3), batch_first=True)
        self.head = nn.Linear(config["width"], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


class _Writes(nn.Module):
    """A transformer that says the word before each."""

    def __init__(self, config: dict, words: int, time: int):
        super().__init__()
        width = config["width"]
        self.words, self.places = nn.Embedding(words, width), nn.Parameter(torch.randn(time, width))
        layer = partial(nn.TransformerEncoderLayer, width, 2, 2 * width, 0.0, batch_first=True)
        depth = min(config["depth"], 6)
        self.body = nn.Sequential(*[layer(norm_first=config["skips"]) for _ in range(depth)])
        self.head = nn.Linear(width, words)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.words(x) + self.places))


class _Solves(nn.Module):
    """u″ + u of a network u of one number."""

    def __init__(self, u: nn.Module):
        super().__init__()
        self.u = u

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            u = self.u(x)
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        return bend + u


def layers(
    config: dict, inputs: int, outputs: int, wrapped: Callable[[nn.Module], nn.Module] = lambda each: each
) -> nn.Module:
    """A plain or residual stack of linear layers, each wrapped."""
    width, f = config["width"], _ACTIVATIONS[config["activation"]]
    made = [nn.Sequential(wrapped(nn.Linear(inputs, width)), f())]
    for _ in range(config["depth"] - 1):
        body = nn.Sequential(wrapped(nn.Linear(width, width)), f())
        made.append(_Skip(body) if config["skips"] else body)
    return nn.Sequential(*made, nn.Linear(width, outputs))


@torch.no_grad()
def _scaled(model: nn.Module, gain: float | None) -> nn.Module:
    """Weights of std gain / √fan_in, biases 0; embeddings stay."""
    for name, each in model.named_parameters() if gain is not None else ():
        matrix = each.dim() > 1 and "words" not in name and "places" not in name
        if matrix:
            each.normal_(0, gain / each.shape[1] ** 0.5)
        elif "bias" in name:
            each.zero_()
    return model


def problem(row: str) -> tuple[nn.Module, Tensor, Tensor, Loss]:
    """The network of a row, all inputs and targets, and the loss."""
    task, config = row.split()[0], configuration(row)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        model, x, y, loss = _MAKERS[task](config)
        return _scaled(model, config["gain"]), x, y, loss


def _regression(config: dict) -> tuple:
    x = torch.randn(512, 8)
    y = (x[:, :1] * x[:, 1:2] + x[:, 2:3].sin() + x[:, 3:4]) / 1.5
    return layers(config, 8, 1), config["inputs"] * x, y, F.mse_loss


def _autoencoder(config: dict) -> tuple:
    x = digits().inputs[:512]
    return layers(config, 64, 64), config["inputs"] * x, x, F.mse_loss


def _sequence(config: dict) -> tuple:
    x = torch.randn(512, config["time"], 2)
    y = x[:, :, :1].mean(1) * config["time"] ** 0.5
    return _Reads(config, 2), config["inputs"] * x, y, F.mse_loss


def per_word(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of outputs (batch, time, words)."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def _language(config: dict) -> tuple:
    words = torch.randint(12, (512, config["time"]))
    return _Writes(config, 12, config["time"]), words, words.roll(1, 1), per_word


def _graph(config: dict) -> tuple:
    n, kind = 150, torch.arange(150) % 3
    links = (torch.rand(n, n) < torch.where(kind[:, None] == kind, 0.2, 0.04)).float()
    links = ((links + links.T + torch.eye(n)) > 0).float()
    x = F.one_hot(kind, 3).float() + torch.randn(n, 3)
    over = partial(_Over, graph=links / links.sum(1, keepdim=True))
    return layers(config, 3, 3, over), config["inputs"] * x, kind, F.cross_entropy


def _physics(config: dict) -> tuple:
    x = torch.linspace(-2, 2, 256)[torch.randperm(256)][:, None]
    smooth = config["activation"] if config["activation"] != "relu" else "tanh"
    return _Solves(layers(config | {"activation": smooth}, 1, 1)), x, (2 * x).sin(), F.mse_loss


_MAKERS = dict(zip(TASKS, (_regression, _autoencoder, _sequence, _language, _graph, _physics)))


def constant(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
    """The loss of the best constant answer: the mean of numbers, the shares of classes."""
    if y.is_floating_point():
        return float(loss(y.mean(0, keepdim=True).expand_as(y), y))
    share = y.flatten().bincount() / y.numel()
    return float(loss(share.log().expand(*y.shape, -1), y))


def left_over(row: str, optimizer: Callable[..., torch.optim.Optimizer], rate: float) -> float:
    """The share of a constant answer's loss that is left after training; infinite where it does not stay finite."""
    model, x, y, loss = problem(row)
    level, generator = constant(model, x, y, loss), torch.Generator().manual_seed(0)
    stepping, whole = optimizer(model.parameters(), lr=rate), row.startswith("graph")
    for _ in range(STEPS):
        chosen = slice(None) if whole else torch.randint(len(x), (BATCH,), generator=generator)
        stepping.zero_grad()
        now = loss(model(x[chosen]), y[chosen])
        if not isfinite(float(now.detach())):
            return float("inf")
        now.backward()
        stepping.step()
    left = float(loss(model(x), y).detach()) / level
    return left if isfinite(left) else float("inf")


def best(row: str, optimizer: Callable[..., torch.optim.Optimizer], rates: Sequence[float]) -> float:
    """The least that is left at any of the rates, up to the first that is enough."""
    left = float("inf")
    for rate in rates:
        left = min(left, left_over(row, optimizer, rate))
        if left < ENOUGH:
            break
    return round(min(left, 9.0), 3)


def row(name: str) -> dict[str, float]:
    """What is left at the best rate of each optimizer."""
    return {
        "sgd": best(name, partial(torch.optim.SGD, momentum=0.9), SGD_RATES),
        "adam": best(name, torch.optim.Adam, ADAM_RATES),
    }


def label(left: float) -> bool | None:
    """Whether it has trained; None between the two."""
    return True if left <= TRAINED else False if left > UNTRAINED else None


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("tasks", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
