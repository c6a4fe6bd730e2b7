"""Reports of tables: features, targets and formulas."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case, share, standard
from experiments.cases.case import above_half, accuracy, adam, answers, explained, sgd, stack


def table(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The breast cancer table, mixed."""
    x, y = (torch.tensor(each).float() for each in load_breast_cancer(return_X_y=True))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return x[order], y[order]


@case("non_finite_forward", "github.com/evandowning/deepreflect/issues/11", 0.7, 0.9)
def scaled_by_a_maximum_of_zero(fixed: bool, seed: int) -> Run:
    """Each feature is divided by its maximum, and one is 0 in all samples: loss = nan - mse = nan."""
    x, y = table()
    x = torch.cat([x, torch.zeros(len(x), 1)], 1)
    top = x.max(0).values
    x = x / (top.clamp(min=1e-6) if fixed else top)
    model = stack(31, 32, 1)

    def loss(out, y):
        return F.binary_cross_entropy_with_logits(out.squeeze(1), y)

    return Run(model, x, y, loss, adam(model, 1e-2), score=above_half, batch=64, steps=300)


@case(
    "target_scale input_scale",
    "discuss.pytorch.org/t/neural-network-could-not-learn-on-this-type-of-data-why/96648",
    0.3,
    0.9,
)
def cubes_up_to_4000(fixed: bool, seed: int) -> Run:
    """x from 1 to 3999 and x ** 3 as target, neither normalized."""
    x = torch.arange(1, 4000).float()[:, None]
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    y = x**3
    if fixed:
        x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    model = stack(1, 50, 1)
    return Run(model, x, y, F.mse_loss, adam(model, 1e-3), score=explained, batch=4000, steps=1000)


@case("input_scale step_too_large", "github.com/jaredleekatzman/DeepSurv/issues/14", 0.6, 0.75)
def survival_of_raw_features(fixed: bool, seed: int) -> Run:
    """Cox's partial likelihood with features as they are (thousands): first a loss of 1e10, then NaN."""
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(512, 5, generator=generator)
    x = z * torch.tensor([20.0, 3000.0, 1.0, 400.0, 8.0]) + torch.tensor([60.0, 9000.0, 2.0, 1000.0, 30.0])
    if fixed:
        x = standard(x)
    risk = z[:, 0] - z[:, 1] + 0.8 * z[:, 3]
    time = torch.empty(512).exponential_(1.0, generator=generator) * (-risk).exp()
    event = (torch.rand(512, generator=generator) < 0.7).float()
    model = stack(5, 25, 25, 1)

    def loss(out, target):
        time, event = target
        order = time.argsort(descending=True)
        out, event = out.squeeze(1)[order], event[order]
        return -((out - out.exp().cumsum(0).log()) * event).sum() / event.sum()

    def score(model, x, target):
        time, event = target
        out = answers(model, x).squeeze(1)
        pairs = (time[:, None] < time[None]) & (event[:, None] > 0)
        right = (out[:, None] > out[None]).double() + 0.5 * (out[:, None] == out[None]).double()
        return float(right[pairs].mean())

    return Run(
        model,
        x,
        (time, event),
        loss,
        sgd(model, 1e-2, momentum=0.9),
        score=score,
        batch=512,
        steps=200,
        look=(x, (time, event)),
    )


@case("", "github.com/dreamquark-ai/tabnet/issues/515", 0.3, 0.6, loop="exploding")
def deviation_replaced_by_a_mean(fixed: bool, seed: int) -> Run:
    """Errors are divided by a feature's deviation, or where that is 0 by its mean, here below 0: a loss of -1e17."""
    generator = torch.Generator().manual_seed(1)
    factors = torch.randn(512, 4, generator=generator)
    x = (factors @ torch.randn(4, 12, generator=generator)) / 2
    x = torch.cat([x, torch.full((512, 1), -0.01)], 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = stack(13, 32, 4, 32, 13)

        def forward(self, x):
            return self.body(x * (torch.rand(x.shape) > 0.1) if self.training else x)

    model = Net()

    def loss(out, x):
        deviation, mean = x.std(0) ** 2, x.mean(0)
        deviation = torch.where(deviation < 1e-12, torch.ones(()) if fixed else mean, deviation)
        return ((out - x) ** 2 / deviation).mean()

    def score(model, x, y):
        return max(-9.0, share(answers(model, x)[:, :12], y[:, :12]))

    return Run(model, x, x, loss, adam(model, 5e-3), score=score, batch=128, steps=600)


@case(
    "target_shape",
    "discuss.pytorch.org/t/output-of-the-model-depends-on-the-shape-of-the-weights-tensor/148155",
    0.95,
    0.99,
)
def sum_of_three_inputs(fixed: bool, seed: int) -> Run:
    """Linear(3, 1) gives (1024, 1), the targets are (1024,): it cannot even learn a sum of its inputs."""
    x = torch.rand(1024, 3)
    y = x.sum(1)
    model = nn.Sequential(nn.Linear(3, 1, bias=False))
    y = y.unsqueeze(1) if fixed else y
    return Run(model, x, y, F.mse_loss, sgd(model, 0.1), score=explained, batch=1024, steps=300, look=(x, y))


@case("dead", "github.com/jvargasmu/population_estimation/issues/68", 0.1, 0.7)
def relu_after_the_last_layer(fixed: bool, seed: int) -> Run:
    """A ReLU after the last layer of a regression: now and then the first network says 0 everywhere, and stays so."""
    x = torch.rand(512, 6)
    y = (2 * x[:, 0] + x[:, 1] * x[:, 2] * 4 + 0.5)[:, None]
    for _ in range(1000):  # those of the first networks that say 0, as the report says
        model = stack(6, 32, 32, 1)
        if float(answers(model, x).max()) < 0:
            break
    model.append(nn.Softplus() if fixed else nn.ReLU())
    return Run(model, x, y, F.mse_loss, adam(model, 3e-3), score=explained, batch=64, steps=400)


@case("", "github.com/YujiaBao/ls/issues/1", 0.7, 0.9)
def layers_without_activation(fixed: bool, seed: int) -> Run:
    """The activations of an MLP were forgotten: it is linear."""
    x = torch.rand(1024, 2) * 2 - 1
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = stack(2, 64, 64, 2, f=nn.ReLU if fixed else nn.Identity)
    return Run(model, x, y, F.cross_entropy, adam(model, 3e-3), score=accuracy, batch=64, steps=500)
