"""Reports of signals, gradients and sizes that are not what a network needs."""

import itertools
from math import pi, sqrt

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.cases.case import (
    Encoder,
    Run,
    accuracy,
    adam,
    answers,
    case,
    digits,
    explained,
    he,
    likelihood,
    per_word,
    sgd,
    stack,
)  # fmt: skip


@case("exploding", "stackoverflow.com/questions/48385830", 0.4, 0.8)
def no_activation_and_variance_1(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 30, 10, f=nn.Sigmoid if fixed else nn.Identity, std=lambda _: 1.0)
    if fixed:
        return Run(model, x, y, F.cross_entropy, sgd(model, 1.0), accuracy, 600, 10)
    return Run(model, x, y, lambda o, t: F.mse_loss(o, F.one_hot(t, 10).float()), sgd(model, 3.0), accuracy, 600, 10)


@case("step_too_large", "stackoverflow.com/questions/48934338", 0.3, 0.8)
def parabola_at_a_rate_of_one_tenth(fixed: bool) -> Run:
    x = torch.linspace(0, 5, 64)[torch.randperm(64)][:, None]
    model = stack(1, 50, 30, 1)
    return Run(
        model, x, 5 * x**2 + torch.randn_like(x), F.mse_loss, sgd(model, 1e-3 if fixed else 0.1), explained, 1200, 32
    )


@case("output_scale", "github.com/huggingface/transformers/pull/26441", 0.5, 0.9)
def head_of_variance_1(fixed: bool) -> Run:
    words = torch.randint(128, (200, 16))
    model = nn.Sequential(nn.Embedding(128, 256), nn.LayerNorm(256), nn.Linear(256, 128, bias=False))
    nn.init.normal_(model[2].weight, std=1 / 16 if fixed else 1.0)
    return Run(model, words, torch.randperm(128)[words], per_word, adam(model, 1e-3), accuracy, 60, 8)


@case("vanishing", "github.com/phlippe/uvadlc_notebooks/issues/119", 0.3, 0.8)
def four_layers_of_sigmoid(fixed: bool) -> Run:
    x, y = digits()
    widths, layers = [64, 256, 128, 128, 64], []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), *[nn.BatchNorm1d(b)] * fixed, nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.01, momentum=0.9), accuracy, 200, 128)


@case("vanishing", "github.com/kuangliu/pytorch-cifar/issues/28", 0.35, 0.6)
def vgg_without_normalization(fixed: bool) -> Run:
    x, y = digits()
    channels, layers = [1, 12, 12] + [24] * 9, []
    for place, (a, b) in enumerate(itertools.pairwise(channels)):
        conv = nn.Conv2d(a, b, 3, padding=1)
        if fixed:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU()] + [nn.MaxPool2d(2)] * (place in (1, 4))
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))
    return Run(model, x.view(-1, 1, 8, 8), y, F.cross_entropy, sgd(model, 0.02, momentum=0.9), accuracy, 250)


class Reads(nn.Module):
    """The last state of a recurrent layer, and a linear answer."""

    def __init__(self, layer: nn.RNNBase, outputs: int):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(layer.hidden_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


@case("vanishing", "github.com/Atcold/NYU-DLSP20/pull/109", 0.75, 0.85)
def many_steps_of_a_plain_rnn(fixed: bool) -> Run:
    y = torch.randint(2, (640,))
    x = 0.2 * torch.randn(640, 110, 2)
    x[:, 0, 0] = 2.0 * y - 1
    model = Reads((nn.LSTM if fixed else nn.RNN)(2, 24, batch_first=True), 2)
    if fixed:
        with torch.no_grad():
            model.layer.bias_hh_l0[24:48] += 5  # the forget gate's
    return Run(model, x, y, F.cross_entropy, adam(model, 3e-3), accuracy, 140)


@case("exploding", "github.com/pytorch/examples/issues/110: recurrent gradients", 0.6, 0.85)
def recurrent_weights_of_twice_the_gain(fixed: bool) -> Run:
    y = torch.randint(2, (640,))
    x = 0.1 * torch.randn(640, 60, 2)
    x[:, -10, 0] = 2.0 * y - 1
    model = Reads(nn.GRU(2, 24, batch_first=True) if fixed else nn.RNN(2, 24, batch_first=True, nonlinearity="relu"), 2)
    if not fixed:
        nn.init.normal_(model.layer.weight_hh_l0, std=2 * he(24))
    return Run(model, x, y, F.cross_entropy, adam(model, 3e-3), accuracy, 250)


@case("step_too_large", "github.com/pytorch/pytorch/issues/55270", 0.3, 0.6)
def twelve_post_norm_layers(fixed: bool) -> Run:
    words = torch.randint(16, (128, 12))
    model = Encoder(12, heads=4, layers=12, norm_first=fixed)
    for each in model.body.parameters():
        if each.dim() > 1:
            nn.init.xavier_uniform_(each)
    return Run(model, words, words.roll(1, 1), per_word, adam(model, 3e-3), accuracy, 100, 32)


@case("symmetric", "github.com/HomericIntelligence/Mnemosyne/pull/1987", 0.5, 0.8)
def every_number_is_one_hundredth(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 48, 48, 10)
    if not fixed:
        for each in model.parameters():
            nn.init.constant_(each, 0.01)
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.1, momentum=0.9), accuracy)


@case("target_scale", "stackoverflow.com/questions/48221692", 0.1, 0.6)
def sigmoid_before_targets_up_to_85(fixed: bool) -> Run:
    x = 10 * torch.rand(200, 1)
    model = nn.Sequential(nn.Linear(1, 8), nn.Sigmoid(), nn.Linear(8, 1), *[nn.Sigmoid()] * (not fixed))
    return Run(model, x, 8.5 * x + 3 * torch.randn(200, 1), F.mse_loss, sgd(model, 0.01), explained, 1500)


@case("dead", "github.com/ProteomicsML/ProteomicsML/pull/203", 0.1, 0.5)
def rectifier_after_a_negative_answer(fixed: bool) -> Run:
    x = torch.randn(256, 10, 4)
    model = Reads(nn.LSTM(4, 16, batch_first=True), 1)
    with torch.no_grad():  # the unlucky draw of the report
        model.head.bias.fill_(-float(answers(model, x).abs().max()) - 0.1)
    ended = model if fixed else nn.Sequential(model, nn.ReLU())
    return Run(ended, x, 2 * x[:, :, 0].mean(1, keepdim=True) + 3, F.mse_loss, adam(model, 1e-2), explained, 250)


@case("input_scale", "github.com/keras-team/keras/issues/510", 0.75, 0.9)
def raw_features(fixed: bool) -> Run:
    x, y = (torch.tensor(each) for each in load_breast_cancer(return_X_y=True))
    x, y = x.float()[(order := torch.randperm(len(y)))], y[order]
    model = stack(30, 64, 32, 2)
    x = (x - x.mean(0)) / x.std(0) if fixed else x
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.01, momentum=0.9), accuracy, 200, 32)


@case("saturated", "github.com/huggingface/transformers/issues/45676", 0.6, 0.75)
def attention_without_its_root(fixed: bool) -> Run:
    n, time, width = 400, 12, 128
    place, key, value = torch.randint(time - 3, (n,)), torch.randint(8, (n,)), torch.randint(8, 16, (n,))
    words, every = torch.randint(8, 16, (n, time)), torch.arange(n)
    words[every, place], words[every, place + 1], words[:, -1] = key, value, key  # what came after this key?

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.back = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
            self.before, self.q_norm, self.k_norm = nn.LayerNorm(width), nn.RMSNorm(width), nn.RMSNorm(width)

        def forward(self, h):
            q, k, v = self.qkv(self.before(h)).chunk(3, -1)
            scores = self.q_norm(q) @ self.k_norm(k).mT
            return h + self.back((scores / sqrt(width) if fixed else scores).softmax(-1) @ v)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(16, width), nn.Parameter(0.5 * torch.randn(time, width))
            self.body, self.norm = nn.Sequential(*[Attends() for _ in range(4)]), nn.LayerNorm(width)
            self.head = nn.Linear(width, 8)

        def forward(self, x):
            return self.head(self.norm(self.body(self.words(x) + self.places)[:, -1]))

    model = Model()
    return Run(model, words, value - 8, F.cross_entropy, adam(model, 1e-3), accuracy, 100)


@case("input_scale", "github.com/vsitzmann/siren/issues/19", 0.3, 0.7)
def sines_of_pixel_numbers(fixed: bool) -> Run:
    side = torch.arange(20.0)
    pixels = torch.cartesian_prod(side, side)[torch.randperm(400)]
    unit = pixels / 9.5 - 1
    y = torch.sin(4 * unit[:, :1]) * torch.cos(3 * unit[:, 1:])

    class Sine(nn.Module):
        def __init__(self, inputs: int, outputs: int, bound: float):
            super().__init__()
            self.linear = nn.Linear(inputs, outputs)
            nn.init.uniform_(self.linear.weight, -bound, bound)

        def forward(self, h):
            return (30 * self.linear(h)).sin()

    inner = sqrt(6 / 64) / 30
    model = nn.Sequential(Sine(2, 64, 1 / 2), Sine(64, 64, inner), Sine(64, 64, inner), nn.Linear(64, 1))
    nn.init.uniform_(model[3].weight, -inner, inner)
    x, new = unit if fixed else pixels, torch.arange(400) % 4 == 0

    def elsewhere(net, *_):
        return explained(net, x[new], y[new])

    return Run(model, x[~new], y[~new], F.mse_loss, adam(model, 2e-4 if fixed else 1e-2), elsewhere, 400, 300)


@case("vanishing", "a deep tanh network with N(0, 0.01²), as tutorials write it", 0.3, 0.8)
def tanh_of_tiny_weights(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, *[48] * 8, 10, f=nn.Tanh, std=(lambda n: n**-0.5) if fixed else (lambda _: 0.01))
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.05, momentum=0.9), accuracy)


@case("saturated", "a deep tanh network with N(0, 1), as tutorials write it", 0.6, 0.8)
def tanh_of_large_weights(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, *[100] * 8, 10, f=nn.Tanh, std=(lambda n: n**-0.5) if fixed else (lambda _: 1.0))
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.02, momentum=0.9), accuracy)


@case("vanishing", "weights that load_state_dict(strict=False) did not find, drawn with std 0.02", 0.3, 0.8)
def nothing_was_loaded(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, *[64] * 8, 10, std=he if fixed else (lambda _: 0.02))
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.02, momentum=0.9), accuracy)


@case("input_scale", "pixels from 0 to 255", 0.6, 0.85)
def pixels_up_to_255(fixed: bool) -> Run:
    x, y = digits()
    pixels = (x - x.min()) / (x.max() - x.min()) * 255
    model = stack(64, 128, 64, 10, f=nn.Tanh)
    return Run(model, x if fixed else pixels, y, F.cross_entropy, sgd(model, 0.01, momentum=0.9), accuracy)


@case("input_scale", "pixels divided by 255 twice", 0.4, 0.85)
def pixels_divided_twice(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 128, 64, 10)
    return Run(model, x if fixed else x / 255, y, F.cross_entropy, sgd(model, 0.05, momentum=0.9), accuracy)


@case("target_scale", "house prices as they are", 0.2, 0.8)
def prices_in_units_of_one(fixed: bool) -> Run:
    x = torch.randn(400, 8)
    y = x @ torch.randn(8, 1) + 2
    model = stack(8, 64, 1)
    return Run(model, x, y if fixed else 1e5 * y, F.mse_loss, adam(model, 3e-3), explained, 250)


@case("exploding", "a graph network that sums over neighbours and never divides", 0.5, 0.6)
def sums_over_neighbours(fixed: bool) -> Run:
    n, kind = 120, torch.arange(120) % 3
    links = (torch.rand(n, n) < torch.where(kind[:, None] == kind, 0.3, 0.05)).float()
    links = ((links + links.T + torch.eye(n)) > 0).float()
    spread = links.sum(1).rsqrt()
    graph = spread[:, None] * links * spread if fixed else links
    x = F.one_hot(kind, 3).float() + torch.randn(n, 3)

    class Convolves(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("graph", graph)
            self.layers = nn.ModuleList(nn.Linear(a, 16) for a in (3, 16, 16, 16))
            for layer in self.layers:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            self.head = nn.Linear(16, 3)

        def forward(self, h):
            for layer in self.layers:
                h = (self.graph @ layer(h)).relu()
            return self.head(h)

    model = Convolves()
    return Run(model, x, kind, F.cross_entropy, sgd(model, 0.1, momentum=0.9), accuracy, 300, n)


@case("vanishing", "over-smoothing: a graph network of many layers", 0.6, 0.8)
def twenty_layers_of_averages(fixed: bool) -> Run:
    n, kind = 120, torch.arange(120) % 3
    links = (torch.rand(n, n) < torch.where(kind[:, None] == kind, 0.3, 0.05)).float()
    links = ((links + links.T + torch.eye(n)) > 0).float()
    graph = links / links.sum(1, keepdim=True)
    x = F.one_hot(kind, 3).float() + 1.5 * torch.randn(n, 3)

    class Convolves(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("graph", graph)
            self.layers = nn.ModuleList(nn.Linear(a, 16) for a in (3, *[16] * (1 if fixed else 19)))
            self.head = nn.Linear(16, 3)

        def forward(self, h):
            for layer in self.layers:
                h = (self.graph @ layer(h)).relu()
            return self.head(h)

    model = Convolves()
    return Run(model, x, kind, F.cross_entropy, adam(model, 1e-2), accuracy, 200, n)


@case("input_scale", "a network of physics with seconds from 0 to 200", 0.7, 0.9)
def time_in_seconds(fixed: bool) -> Run:
    t = torch.linspace(0, 200, 256)[torch.randperm(256)][:, None]
    scale = 100.0 if fixed else 1.0
    x = (t - 100) / scale if fixed else t
    model = stack(1, 32, 32, 1, f=nn.Tanh)
    y = (pi * t / 40).sin()
    return Run(model, x, y, F.mse_loss, adam(model, 5e-3), explained, 700)


@case("output_scale", "an embedding of std 1 whose weight is the head's as well", 0.7, 0.9)
def embedding_tied_to_the_head(fixed: bool) -> Run:
    words = torch.randint(128, (200, 16))

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(128, 128)
            nn.init.normal_(self.words.weight, std=128**-0.5 if fixed else 1.0)
            self.body, self.norm = stack(128, 256, 128), nn.LayerNorm(128)

        def forward(self, x):
            h = self.words(x)
            return F.linear(self.norm(h + self.body(h)), self.words.weight)

    model = Tied()
    return Run(model, words, torch.randperm(128)[words], per_word, adam(model, 2e-3), likelihood, 50, 16)
