"""Reports of gradients and numbers: formulas of one's own, half precision, derivatives of derivatives."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case, digits, share, standard
from experiments.cases.case import accuracy, adam, answers, explained, in_evaluation, stack


@case("non_finite_backward", "github.com/pytorch/pytorch/issues/68425", 0.3, 0.8)
def where_with_an_infinite_branch(fixed: bool, seed: int) -> Run:
    """torch.where(a <= 0, exp(a), 1 + a): exp overflows in the branch not taken, and its gradient is 0 * inf."""
    x = torch.rand(512, 3) * 200 - 100
    y = ((x[:, :1] / 50).sin() + x[:, 1:2].abs() / 100).float()

    class Activation(nn.Module):
        def forward(self, a):
            return torch.where(a <= 0, torch.exp(a.clamp(max=0) if fixed else a), 1 + a)

    class Scale(nn.Module):
        def forward(self, x):
            return x / 100

    model = nn.Sequential(nn.Linear(3, 32), Activation(), Scale(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    return Run(model, x, y, F.mse_loss, adam(model, 5e-3), score=explained, batch=64, steps=600)


@case("untrained", "github.com/pytorch/pytorch/issues/31984", 0.3, 0.8)
def derivative_without_create_graph(fixed: bool, seed: int) -> Run:
    """The loss of a derivative by autograd.grad without create_graph: it has no grad_fn, only values are trained."""
    x = torch.rand(256, 1) * 6 - 3
    known = torch.zeros(256, 1)
    known[:2] = 1  # values are known in two places, derivatives everywhere
    y = torch.cat([(2 * x).sin(), 2 * (2 * x).cos(), known], 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = stack(1, 32, 32, 1, f=nn.Tanh)

        def forward(self, x):
            with torch.enable_grad():
                x = x.detach().requires_grad_(True)
                out = self.body(x)
                slope = torch.autograd.grad(out.sum(), x, retain_graph=True, create_graph=fixed)[0]
            return torch.cat([out, slope], 1)

    model = Net()

    def loss(out, y):
        return ((out[:, 0] - y[:, 0]) ** 2 * y[:, 2]).sum() / 2 + F.mse_loss(out[:, 1], y[:, 1])

    def score(model, x, y):
        return max(-9.0, share(answers(model, x)[:, 1], y[:, 1]))

    return Run(model, x, y, loss, adam(model, 5e-3), score=score, batch=256, steps=800, look=(x, y))


@case("untrained", "github.com/layog/Accurate-Binary-Convolution-Network/issues/6", 0.75, 0.85)
def sign_without_straight_through(fixed: bool, seed: int) -> Run:
    """Weights go through sign(), whose gradient is 0: those of the binary layers stay as they were drawn."""
    x, y = digits()

    class Binary(nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.weight, self.norm = nn.Parameter(torch.randn(b, a) * 0.1), nn.BatchNorm1d(b)

        def forward(self, x):
            w = self.weight.sign()
            w = self.weight + (w - self.weight).detach() if fixed else w
            return self.norm(x @ w.T).tanh()

    model = nn.Sequential(Binary(64, 16), Binary(16, 8), Binary(8, 6), nn.Linear(6, 10))
    return Run(model, standard(x), y, F.cross_entropy, adam(model, 5e-3), score=in_evaluation, batch=128, steps=800)


@case("underflow", "github.com/workofart/ml-by-hand/pull/85", 0.4, 0.8)
def bfloat16_without_a_master_copy(fixed: bool, seed: int) -> Run:
    """Weights in bfloat16 and a rate of 6e-4: each update rounds back to the weight it started from."""
    x, y = digits()
    kind = torch.float32 if fixed else torch.bfloat16

    class Net(nn.Module):  # gains that start at 1, as in the report: 1 - 6e-4 is 1 again
        def __init__(self):
            super().__init__()
            self.frozen = nn.Linear(64, 256, bias=False).requires_grad_(False)
            self.gains = nn.Parameter(torch.ones(256, 10))
            self.signs = nn.Buffer(torch.randint(0, 2, (256, 10)).float() * 2 - 1)

        def forward(self, x):
            return self.frozen(x.to(kind)).relu() @ (self.gains * self.signs) / 16

    model = Net().to(kind)

    def loss(out, y):
        return F.cross_entropy(out.float(), y)

    optimizer = torch.optim.Adam([model.gains], 6e-4, eps=1e-8)
    return Run(model, standard(x), y, loss, optimizer, score=accuracy, batch=64, steps=2500)


@case("overflow non_finite_forward", "github.com/chainer/chainer/issues/6702", 0.3, 0.8)
def mean_absolute_error_in_half(fixed: bool, seed: int) -> Run:
    """F.mean_absolute_error in float16: the sum over a large batch is more than 65504 before it is divided."""
    x = torch.rand(64, 1, 16, 16) * 2
    y = x * 4 + 3

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))

        def forward(self, x):
            return self.body(x).half()

    model = Half()

    def loss(out, y):
        error = (out - y.half()).abs()
        return ((error.float() if fixed else error).sum() / out.numel()).float()

    return Run(model, x, y, loss, adam(model, 1e-2), score=explained, batch=64, steps=300)
