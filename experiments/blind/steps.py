"""Reports of what is trained, and how: parameters, classes, precision, and the steps of a loop."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case, digits, standard
from experiments.cases.case import accuracy, adam, answers, explained, sgd, stack


@case("untrained", "github.com/pytorch/pytorch/issues/715", 0.8, 0.9)
def list_of_layers(fixed: bool, seed: int) -> Run:
    """Hidden layers in a list of lists: none of them is a parameter."""
    x = torch.rand(1024, 2) * 2 - 1
    y = ((x[:, 0] * 3.5).sin() * (x[:, 1] * 3.5).sin() > 0).long()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [nn.Sequential(nn.Linear(a, 32), nn.Tanh()) for a in (2, 32, 32)]
            self.hids = nn.ModuleList(layers) if fixed else [list(each) for each in layers]
            self.classifier = nn.Linear(32, 2)

        def forward(self, x):
            for each in self.hids:
                for layer in each:
                    x = layer(x)
            return self.classifier(x)

    model = Net()
    return Run(model, x, y, loss=F.cross_entropy, optimizer=adam(model, 1e-2), batch=128, steps=800, score=accuracy)


@case("", "github.com/BVLC/caffe/issues/1396", 0.3, 0.8, loop="collapsed")
def weight_decay_half(fixed: bool, seed: int) -> Run:
    """weight_decay 0.5 with SGD: all inputs give one output after a while (a comment of 2016-2017)."""
    x, y = digits()
    x = standard(x).reshape(-1, 1, 8, 8)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    return Run(
        model,
        x,
        y,
        loss=F.cross_entropy,
        optimizer=sgd(model, 0.05, momentum=0.9, weight_decay=5e-4 if fixed else 0.5),
        steps=400,
        score=accuracy,
    )


@case("squashed_twice untrained", "github.com/keras-team/keras/issues/14729", 0.7, 0.9)
def categorical_of_one(fixed: bool, seed: int) -> Run:
    """Dense(1, sigmoid) with categorical_crossentropy: one class, so the loss is 0 whatever is said."""
    import keras
    from sklearn.datasets import load_breast_cancer

    keras.utils.set_random_seed(seed)
    d = load_breast_cancer()
    x, y = standard(torch.tensor(d.data, dtype=torch.float32)), torch.tensor(d.target, dtype=torch.float32)[:, None]
    model = keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    loss = keras.losses.BinaryCrossentropy() if fixed else keras.losses.CategoricalCrossentropy()
    return Run(
        model,
        x,
        y,
        loss=lambda o, t: loss(t, o),
        optimizer=adam(model, 3e-3),
        steps=300,
        score=lambda net, i, t: ((answers(net, i) > 0.5).float() == t).float().mean().item(),
    )


@case("underflow", "github.com/pytorch/pytorch/issues/8860", 0.5, 0.9)
def adam_in_half(fixed: bool, seed: int) -> Run:
    """A network in float16 with Adam's eps 1e-8, which is 0 there: NaN after the first step."""
    x, y = digits()
    x = standard(x).half()
    model = stack(64, 64, 64, 10).half()
    return Run(
        model,
        x,
        y,
        loss=lambda o, t: F.cross_entropy(o.float(), t),
        optimizer=torch.optim.Adam(model.parameters(), 1e-3, eps=1e-4 if fixed else 1e-8),
        steps=300,
        score=accuracy,
    )


@case("overflow", "github.com/chelsea0x3b/dfdx/issues/748", 0.3, 0.7)
def count_beyond_half(fixed: bool, seed: int) -> Run:
    """A mean that divides by its count in float16: 70,000 is infinity there, and the loss is 0."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(256, 8, generator=g)
    y = torch.tanh(x @ torch.randn(8, 1100, generator=g) / 3)
    model = stack(8, 64, 1100)

    def loss(o, t):
        if fixed:
            return (o - t).square().mean()
        o, t = o.half(), t.half()
        return ((o - t) ** 2 / torch.tensor(float(o.numel()), dtype=torch.float16)).sum()

    return Run(model, x, y, loss=loss, optimizer=adam(model, 5e-3), batch=64, steps=200, score=explained)


@case("", "github.com/Lightning-AI/pytorch-lightning/issues/9599", 0.5, 0.8, loop="standing_still")
def clipped_before_unscaling(fixed: bool, seed: int) -> Run:
    """Gradients times 65536 are clipped to norm 1, then divided: steps are 65536 times too small."""
    x, y = digits()
    model = stack(64, 64, 64, 10)
    o = sgd(model, 0.1, momentum=0.9)

    def step(loss, o, number):
        o.zero_grad()
        (loss * 65536).backward()
        if not fixed:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for each in model.parameters():
            each.grad.div_(65536)
        if fixed:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        o.step()

    return Run(
        model, standard(x), y, loss=F.cross_entropy, optimizer=o, step=step, steps=400, score=accuracy, scale=65536
    )


@case("", "github.com/fastai/fastai/issues/3023", 0.5, 0.8, loop="accumulation")
def batches_added(fixed: bool, seed: int) -> Run:
    """Gradients of 16 batches are added and not divided."""
    x, y = digits()
    x = standard(x)
    model = stack(64, 64, 64, 10)
    o = sgd(model, 0.2, momentum=0.9)

    def loop(watch):
        g = torch.Generator().manual_seed(seed)
        for _ in range(200):
            o.zero_grad()
            for _ in range(16):
                i = torch.randint(len(y), (32,), generator=g)
                loss = F.cross_entropy(model(x[i]), y[i])
                (loss / 16 if fixed else loss).backward()
            o.step()
            watch(loss.detach())

    return Run(model, x, y, loss=F.cross_entropy, optimizer=o, loop=loop, score=accuracy)
