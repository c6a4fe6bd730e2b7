"""Models as others write them: each entry makes (model, inputs, targets, loss, optimizer) that trains."""

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence

from tests.test_containers import Plain

BATCH = 16


class Counting(nn.Module):
    """Keeps whole numbers among its parameters, frozen, as other frameworks do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)
        self.state = nn.Parameter(torch.tensor([1, 2]), requires_grad=False)

    def forward(self, x):
        return self.layer(x)


class WithoutLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(0.4 * torch.randn(5, 3))

    def forward(self, x):
        return x @ self.weight


class Bag(nn.Module):
    """Words whose gradients come sparse."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 8, sparse=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.embedding(x).mean(1))


class Distribution(nn.Module):
    """Answers with a distribution."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, x):
        mean, size = self.layer(x).chunk(2, -1)
        return Normal(mean, F.softplus(size) + 1e-3)


class Packed(nn.Module):
    """Reads sequences of several lengths."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.GRU(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, sequences):
        return self.head(self.layer(sequences)[1][0])


class Pictures(nn.Module):
    """Takes a list of pictures, each of its own size."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, pictures):
        return self.head(torch.stack([self.conv(each).mean((1, 2)) for each in pictures]))


class Token(nn.Module):
    """Gives a layer a parameter that is expanded over the batch."""

    def __init__(self):
        super().__init__()
        self.token, self.first, self.head = nn.Parameter(torch.randn(1, 1, 5)), nn.Linear(5, 5), nn.Linear(5, 3)
        self.layer = nn.TransformerEncoderLayer(5, 1, 16, dropout=0.0, batch_first=True)

    def forward(self, x):
        token = self.first(self.token.expand(len(x), -1, -1))  # where torch's counter of operations fails
        return self.head(self.layer(torch.cat([token, x[:, None]], 1))[:, 0])


class Nodes(nn.Module):
    """Takes one graph, an object, whose nodes are the samples."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, graph):
        return self.layer(graph.second @ graph.first)


def features() -> Tensor:
    return torch.randn(BATCH, 5)


def classes() -> Tensor:
    return torch.arange(BATCH) % 3


def graph() -> Plain:
    return Plain(features(), (torch.eye(BATCH) + torch.eye(BATCH).roll(1, 0)) / 2)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam([each for each in model.parameters() if each.requires_grad], 1e-3)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1)


STRANGERS = {
    "frozen whole numbers": lambda: (Counting(), features(), classes(), None, adam),
    "without layers": lambda: (WithoutLayers(), features(), classes(), None, adam),
    "sparse gradients": lambda: (Bag(), torch.randint(9, (BATCH, 4)), classes(), None, sgd),
    "distribution": lambda: (
        Distribution(), features(), torch.randn(BATCH, 1), lambda found, y: -found.log_prob(y).mean(), adam,
    ),
    "packed sequence": lambda: (
        Packed(), pack_sequence([torch.randn(length, 5) for length in range(BATCH, 0, -1)]), classes(), None, adam,
    ),
    "list of pictures": lambda: (
        Pictures(), [torch.randn(3, 8, 8 + k % 3) for k in range(BATCH)], classes(), None, adam,
    ),
    "expanded token": lambda: (Token(), features(), classes(), None, adam),
    "graph": lambda: (Nodes(), graph(), classes(), None, adam),
}  # fmt: skip


def stranger(name: str):
    """One of them, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return STRANGERS[name]()
