"""Reports of graphs, embeddings and recommendations."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case, digits, standard
from experiments.cases.case import accuracy, adam, answers, stack


@case("non_finite_forward", "github.com/MrLeeeee/GCN-GAT-and-Graphsage/issues/3", 0.4, 0.8)
def nodes_without_neighbours(fixed: bool, seed: int) -> Run:
    """GraphSAGE's mean over neighbours divides by the degree, which is 0 for some nodes: the loss is NaN."""
    n = 200
    y = torch.arange(n) % 3
    near = (torch.rand(n, n) < torch.where(y[:, None] == y[None], 0.12, 0.01)).float()
    near = ((near + near.T) > 0).float().fill_diagonal_(0)
    alone = torch.rand(n) < 0.03
    alone[7] = True
    near[alone], near[:, alone] = 0, 0
    x = F.one_hot(y, 3).float() + torch.randn(n, 3) * 1.2

    class Sage(nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.lin = nn.Linear(2 * a, b)

        def forward(self, x):
            degree = near.sum(1, keepdim=True) + (1e-5 if fixed else 0)
            return self.lin(torch.cat([x, near @ x / degree], 1))

    model = nn.Sequential(Sage(3, 16), nn.ReLU(), Sage(16, 3))
    return Run(model, x, y, F.cross_entropy, adam(model, 1e-2), score=accuracy, batch=n, steps=200, look=(x, y))


def neighbours(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """The share of samples whose nearest neighbour is of their class."""
    z = answers(model, x).nan_to_num()
    found = torch.cdist(z, z).fill_diagonal_(float("inf")).argmin(1)
    return float((y[found] == y).double().mean()) if float(z.std()) > 0 else 0.0


def easy(samples: int = 512) -> tuple[torch.Tensor, torch.Tensor]:
    """Four classes far from each other in 3 of 12 features, with noise in the others."""
    y = torch.arange(samples) % 4
    centres = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
    return torch.cat([centres[y] + 0.2 * torch.randn(samples, 3), 2 * torch.randn(samples, 9)], 1), y


@case("singular", "github.com/KevinMusgrave/pytorch-metric-learning/issues/107", 0.5, 0.9)
def mean_over_no_triplets(fixed: bool, seed: int) -> Run:
    """A triplet loss that is averaged over the triplets not yet solved: 0 / 0 once all of a batch are."""
    x, y = easy()
    model = stack(12, 32, 8)

    def loss(z, y):
        z = F.normalize(z)
        d = 2 - 2 * z @ z.T
        same = y[:, None] == y[None]
        anchor_positive = same & ~torch.eye(len(y), dtype=torch.bool)
        violated = F.relu(d[:, :, None] - d[:, None] + 0.2)[anchor_positive[:, :, None] & ~same[:, None]]
        count = (violated > 0).sum()
        return violated.sum() / (count.clamp(min=1) if fixed else count)

    return Run(model, x, y, loss, adam(model, 1e-2), score=neighbours, batch=32, steps=300)


@case("non_finite_forward", "github.com/HobbitLong/SupContrast/pull/142", 0.5, 0.8)
def classes_with_one_sample(fixed: bool, seed: int) -> Run:
    """Supervised contrast divides by the number of positives: a class with one sample in the batch has none."""
    x, y = digits()
    x, y = standard(x)[:900], y[:900]
    order = torch.randperm(900, generator=torch.Generator().manual_seed(seed))
    x, y = x[order], y[order].clone()
    y[5], y[200], y[400] = 10, 11, 12  # each of a class of its own
    model = stack(64, 64, 16)

    def loss(z, y):
        z = F.normalize(z)
        others = ~torch.eye(len(y), dtype=torch.bool)
        logits = (z @ z.T / 0.1).masked_fill(~others, -1e9)
        log_prob = logits - logits.logsumexp(1, keepdim=True)
        positive = ((y[:, None] == y[None]) & others).float()
        pairs = positive.sum(1)
        pairs = torch.where(pairs < 1e-6, 1.0, pairs) if fixed else pairs
        return -((positive * log_prob).sum(1) / pairs).mean()

    return Run(model, x, y, loss, adam(model, 3e-3), score=neighbours, batch=64, steps=300)


@case("squashed_twice", "github.com/yudi-mars/daisyRec/pull/15", 0.4, 0.6)
def sigmoid_before_bce_with_logits(fixed: bool, seed: int) -> Run:
    """A recommender's sigmoid is followed by BCEWithLogitsLoss: all of its answers are taken for more than 0.5."""
    users, items = torch.randn(60, 3), torch.randn(80, 3)
    u, i = torch.randint(60, (4096,)), torch.randint(80, (4096,))
    y = ((users[u] * items[i]).sum(1) > 2.0).float()  # a click is rare

    class MF(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.i, self.bias = nn.Embedding(60, 8), nn.Embedding(80, 8), nn.Parameter(torch.zeros(()))

        def forward(self, u, i):
            out = (self.u(u) * self.i(i)).sum(1) + self.bias
            return out if fixed else out.sigmoid()

    model = MF()

    def score(model, x, y):  # the share of what is not known beforehand, in nats
        out = answers(model, x)
        rate = y.mean()
        prior = -(rate * rate.log() + (1 - rate) * (1 - rate).log())
        return float(1 - F.binary_cross_entropy_with_logits(out, y) / prior)

    return Run(
        model, (u, i), y, F.binary_cross_entropy_with_logits, adam(model, 1e-2), score=score, batch=256, steps=800
    )
