"""Reports of what is known by its relations: equations, graphs, ratings."""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.blind.case import Run, case, dice
from experiments.cases.case import Batch, adam, answers, stack


class Residual(nn.Module):
    """u and u'' at points of a line."""

    def __init__(self, act, scale=1.0, centre=0.0):
        super().__init__()
        self.f, self.scale, self.centre = stack(1, 32, 32, 1, f=act), scale, centre

    def u(self, x):
        return self.f((x - self.centre) / self.scale)

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            u = self.u(x)
            (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            if not du.requires_grad:
                return u, torch.zeros_like(u)
            ddu = torch.autograd.grad(du.sum(), x, create_graph=True, allow_unused=True)[0]
            return u, torch.zeros_like(u) if ddu is None else ddu


def solved(model: Residual, whole: Batch, loss: Callable[..., Tensor], truth: Tensor) -> Run:
    """An equation's network, shown all points in each step, and judged by the solution that is known."""
    return Run(
        model,
        *whole,
        loss=loss,
        optimizer=adam(model, 5e-3),
        batch=128,
        steps=1500,
        score=lambda net, i, _: 1 - (net.u(i).detach() - truth).square().mean().item() / truth.var().item(),
        look=whole,
    )


@case("untrained dead", "github.com/ComputationalDomain/PINNs/issues/1", 0.3, 0.8)
def relu_pinn(fixed: bool, seed: int) -> Run:
    """The equation asks for second derivatives, and those of a ReLU network are 0: only the boundary is learnt."""
    x = torch.linspace(-1, 1, 128)[:, None]
    truth = torch.sin(pi * x)
    model = Residual(nn.Tanh if fixed else nn.ReLU)

    def loss(o, t):
        edge = t[:, 1:] > 0.5
        return (o[1] - t[:, :1]).square().mean() / 10 + 10 * (o[0][edge].square().sum() / edge.sum().clamp(min=1))

    t = torch.cat([-(pi**2) * truth, (x.abs() == 1).float()], 1)
    return solved(model, (x, t), loss, truth)


@case("input_scale saturated", "github.com/pierremtb/PINNs-TF2.0/issues/1", 0.3, 0.8)
def coordinates_unscaled(fixed: bool, seed: int) -> Run:
    """Coordinates as they are, 0 to 100, before tanh; a layer that scales them mends it."""
    x = torch.linspace(0, 100, 128)[:, None]
    truth = torch.sin(2 * pi * x / 100)
    model = Residual(nn.Tanh, 50.0, 50.0) if fixed else Residual(nn.Tanh)

    def loss(o, t):
        known = t[:, 1:2] > 0.5
        edge = (o[0] - t[:, 2:])[known].square().sum() / known.sum().clamp(min=1)
        return (o[1] * 2500 - t[:, :1]).square().mean() / 10 + 10 * edge

    t = torch.cat([-(pi**2) * truth, (torch.arange(128)[:, None] % 127 == 0).float(), truth], 1)
    return solved(model, (x, t), loss, truth)


@case("squashed_twice", "github.com/pyg-team/pytorch_geometric/issues/2916", 0.4, 0.7)
def log_softmax_for_many_labels(fixed: bool, seed: int) -> Run:
    """A node has several labels; log_softmax is put before the sigmoid's loss: probabilities stay below one half."""
    n = 300
    x = torch.randn(n, 16)
    a = (torch.rand(n, n) < 0.02).float() + torch.eye(n)
    a = a / a.sum(1, keepdim=True)
    y = ((a @ x) @ torch.randn(16, 6) > 0).float()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 64), nn.Linear(64, 6)

        def forward(self, x):
            o = self.b(torch.relu(self.a(a @ x)))
            return o if fixed else o.log_softmax(1)

    model = Net()
    return Run(
        model,
        x,
        y,
        loss=F.binary_cross_entropy_with_logits,
        optimizer=adam(model, 1e-2),
        batch=n,
        steps=200,
        look=(x, y),
        score=dice,
    )


@case("output_scale", "github.com/RUCAIBox/RecBole/pull/1641", 0.68, 0.75)
def unit_embeddings(fixed: bool, seed: int) -> Run:
    """Embeddings N(0, 1) in a factorization: dot products of 64 are of size 8 before anything is learnt."""
    U, I, k = 200, 300, 64
    g = torch.Generator().manual_seed(seed)
    taste = torch.randn(U, 4, generator=g) @ torch.randn(4, I, generator=g)
    u, i = torch.randint(U, (12000,), generator=g), torch.randint(I, (12000,), generator=g)
    y = (taste[u, i] > 0).float()

    class MF(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.i = nn.Embedding(U, k), nn.Embedding(I, k)
            if fixed:
                nn.init.xavier_normal_(self.u.weight)
                nn.init.xavier_normal_(self.i.weight)

        def forward(self, a, b):
            return (self.u(a) * self.i(b)).sum(1)

    model = MF()
    tu, ti, ty = u[10000:], i[10000:], y[10000:]
    return Run(
        model,
        (u[:10000], i[:10000]),
        y[:10000],
        loss=F.binary_cross_entropy_with_logits,
        optimizer=adam(model, 5e-3),
        batch=256,
        steps=400,
        score=lambda net, *_: ((answers(net, (tu, ti)) > 0).float() == ty).float().mean().item(),
    )
