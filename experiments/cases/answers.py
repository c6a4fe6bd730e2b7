"""Reports of losses that do not fit their outputs, of units that are off, and of samples that are mixed."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.cases.case import (
    Run,
    above_half,
    accuracy,
    adam,
    answers,
    case,
    digits,
    explained,
    he,
    in_evaluation,
    likelihood,
    per_word,
    sgd,
    stack,
)  # fmt: skip


@case("target_shape", "github.com/LAMDA-Tabular/TALENT/pull/92", 0.1, 0.8)
def column_against_row(fixed: bool) -> Run:
    x = torch.randn(256, 6)
    y, model = x @ torch.randn(6), stack(6, 32, 1)

    def loss(o, t):
        return (o.view_as(t) - t).square().mean() if fixed else (o - t).square().mean()

    return Run(model, x, y, loss, adam(model, 1e-2), explained)


@case("squashed_twice", "github.com/bkitano/llama-from-scratch/issues/5", 0.5, 0.8)
def softmax_in_a_language_model(fixed: bool) -> Run:
    words = torch.randint(64, (160, 16))
    layers = [nn.Embedding(64, 48), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 64)]
    model = nn.Sequential(*layers, *[nn.Softmax(-1)] * (not fixed))
    return Run(model, words, torch.randperm(64)[words], per_word, adam(model, 2e-3), likelihood, 150, 16)


@case("squashed_twice", "a sigmoid before BCEWithLogitsLoss", 0.9, 0.93)
def sigmoid_before_a_loss_of_logits(fixed: bool) -> Run:
    x = torch.randn(400, 10)
    y = ((x[:, :1] * x[:, 1:2]) > 0).float()
    model = nn.Sequential(*stack(10, 32, 1), *[nn.Sigmoid()] * (not fixed))
    bound = 0.0 if fixed else 0.5

    def score(net, inputs, targets):
        return above_half(lambda each: net(each) - bound, inputs, targets)

    return Run(model, x, y, F.binary_cross_entropy_with_logits, adam(model, 4e-3), score, 200)


@case("squashed_twice", "a softmax of a single unit: always 1", 0.65, 0.85)
def softmax_of_one_unit(fixed: bool) -> Run:
    x = torch.randn(400, 10)
    y = (x[:, :1] + x[:, 1:2] > 0).float()
    model = nn.Sequential(*stack(10, 32, 1), nn.Sigmoid() if fixed else nn.Softmax(1))

    def score(net, inputs, targets):
        return above_half(lambda each: net(each) - 0.5, inputs, targets)

    return Run(model, x, y, F.binary_cross_entropy, adam(model, 1e-2), score)


@case("mixed_samples", "github.com/MicrosoftDocs/pytorchfundamentals/pull/21", 0.4, 0.8)
def softmax_over_the_batch(fixed: bool) -> Run:
    x, y = digits()
    model = nn.Sequential(*stack(64, 64, 10), nn.LogSoftmax(1 if fixed else 0))

    def one_by_one(net, inputs, targets):
        with torch.no_grad():
            said = torch.cat([net(each[None]) for each in inputs[:200]]).argmax(1)
        return float((said == targets[:200]).double().mean())

    return Run(model, x, y, F.nll_loss, adam(model, 1e-3), one_by_one, 250)


@case("mixed_samples", "discuss.pytorch.org: softmax over time instead of classes", 0.35, 0.8)
def softmax_over_time(fixed: bool) -> Run:
    words = torch.randint(24, (200, 12))
    model = nn.Sequential(
        nn.Embedding(24, 32), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 24), nn.LogSoftmax(-1 if fixed else 1)
    )

    def loss(o, t):
        return F.nll_loss(o.flatten(0, 1), t.flatten())

    def first_words(net, inputs, targets):  # one at a time, as it is used
        return accuracy(net, inputs[:, :1], targets[:, :1])

    return Run(model, words, torch.randperm(24)[words], loss, adam(model, 3e-3), first_words, 200, 32)


@case("mixed_samples", "an LSTM that takes the batch for time", 0.7, 0.85)
def batch_taken_for_time(fixed: bool) -> Run:
    x = torch.randn(512, 8, 5)
    y = (x[:, :, 0].sum(1) > 0).long()

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.LSTM(5, 24, batch_first=fixed), nn.Linear(24, 2)

        def forward(self, each):
            return self.head(self.layer(each)[0][:, -1])

    return Run(model := Reads(), x, y, F.cross_entropy, adam(model, 5e-3), accuracy, 200, 32)


@case("mixed_samples", "view where permute was meant", 0.5, 0.8)
def view_instead_of_permute(fixed: bool) -> Run:
    x, y = digits()

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.GRU(8, 48), nn.Linear(48, 10)

        def forward(self, each):
            by_time = each.transpose(0, 1) if fixed else each.reshape(8, len(each), 8)
            return self.head(self.layer(by_time)[0][-1])

    return Run(model := Reads(), x.view(-1, 8, 8), y, F.cross_entropy, adam(model, 5e-3), accuracy, 200)


@case("dead", "github.com/munshisanowarraihan/nerf-meta/issues/3", 0.1, 0.5)
def density_behind_a_rectifier(fixed: bool) -> Run:
    points = torch.rand(200, 16, 3) * 2 - 1
    inside = (points.norm(dim=-1) < 0.7).double().mean(1, keepdim=True).float()
    seen = 1 - (-12 * inside).exp()
    y = torch.cat([seen, seen * (0.5 + 0.5 * points[:, 0, :1]), 0.3 * seen], 1)

    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
            self.density, self.colour = nn.Linear(64, 1), nn.Linear(64, 3)

        def forward(self, p):
            h = self.body(p)
            alpha = 1 - (-0.3 * (F.softplus(self.density(h)) if fixed else self.density(h).relu())).exp()
            left = (1 - alpha + 1e-10).cumprod(1)
            weight = alpha * torch.cat([torch.ones_like(left[:, :1]), left[:, :-1]], 1)
            return (weight * self.colour(h).sigmoid()).sum(1)

    model = Field()
    with torch.no_grad():  # the unlucky draw of the report: no density anywhere
        model.density.bias.fill_(
            -float(answers(model.body, points).norm(dim=-1).max()) * float(model.density.weight.norm())
        )
        model.density.bias.mul_(0.2 if fixed else 1)
    return Run(model, points, y, F.mse_loss, adam(model, 2e-3), explained, 250, 50)


@case("dead", "rectifiers that one step at a large rate has switched off", 0.3, 0.8)
def biases_of_minus_ten(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 64, 64, 10, std=he)
    if not fixed:
        nn.init.constant_(model[2].bias, -10)
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.05, momentum=0.9), accuracy)


@case("symmetric", "all weights 0", 0.3, 0.8)
def all_weights_zero(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 48, 48, 10, std=he if fixed else (lambda _: 0.0))
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.05, momentum=0.9), accuracy)


@case("batch_statistics", "github.com/junyanz/CycleGAN/issues/55: batch normalization over one picture", 0.75, 0.9)
def batch_of_one(fixed: bool) -> Run:
    y = torch.arange(300) % 3
    x = (y - 1.0)[:, None, None, None] + torch.randn(300, 1, 6, 6) / 2
    layers: list[nn.Module] = []
    for inputs in (1, 8):
        layers += [nn.Conv2d(inputs, 8, 3), nn.GroupNorm(1, 8) if fixed else nn.BatchNorm2d(8), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.01, momentum=0.9), accuracy, 900, 1)


@case("checkerboard", "github.com/alan-turing-institute/icenet-mp/pull/277", 0.5, 0.9)
def sub_pixels_that_differ(fixed: bool) -> Run:
    x = F.avg_pool2d(torch.randn(120, 4, 14, 14), 7, 1)
    y = F.interpolate(x.mean(1, keepdim=True), scale_factor=2)
    model = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 3, padding=1), nn.PixelShuffle(2))
    if fixed:
        with torch.no_grad():
            model[2].weight.copy_(model[2].weight[:1].expand_as(model[2].weight))
            model[2].bias.fill_(0)

    def smooth(net, inputs, _):  # at first: how little neighbours differ that should be equal
        pictures = answers(net, inputs)
        blocks = F.pixel_unshuffle(pictures, 2)
        return 1 - float(blocks.std(1).mean() / pictures.std())

    return Run(model, x, y, F.mse_loss, adam(model, 1e-3), smooth, 0, 16)


@case("modes_differ", "github.com/facebookresearch/higher/issues/55", 0.75, 0.9)
def running_statistics_that_stay(fixed: bool) -> Run:
    x, y = digits()
    momentum = 0.1 if fixed else 0.0
    layers = [nn.Linear(64, 64), nn.BatchNorm1d(64, momentum=momentum), nn.ReLU()]
    layers += [nn.Linear(64, 64), nn.BatchNorm1d(64, momentum=momentum), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    return Run(model, 30 * x + 100, y, F.cross_entropy, sgd(model, 0.1), in_evaluation)


@case("modes_differ", "the momentum of Keras, 0.99, in torch", 0.87, 0.93)
def momentum_of_another_library(fixed: bool) -> Run:
    x, y = digits()
    momentum = 0.01 if fixed else 0.99
    layers = [nn.Linear(64, 48), nn.BatchNorm1d(48, momentum=momentum), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(48, 10))
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.02), in_evaluation, 600, 4)


@case("modes_differ", "the share to keep given as the share to drop", 0.7, 0.8)
def dropout_of_nine_tenths(fixed: bool) -> Run:
    x, y = digits()
    share = 0.1 if fixed else 0.9
    layers = [nn.Linear(64, 32), nn.ReLU(), nn.Dropout(share), nn.Linear(32, 32), nn.ReLU(), nn.Dropout(share)]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    return Run(model, x, y, F.cross_entropy, adam(model, 1e-3), in_evaluation, 300)


@case("imbalanced", "one of forty is ill", 0.3, 0.6)
def one_of_forty(fixed: bool) -> Run:
    x = torch.randn(640, 10)
    y = (x[:, :1] + 0.5 * torch.randn(640, 1) > 2.2).float()
    model = stack(10, 32, 1)
    weight = torch.tensor([30.0]) if fixed else None

    def found(net, inputs, targets):  # the share of the ill that are found
        return float((answers(net, inputs)[targets > 0.5] > 0).double().mean())

    def loss(o, t):
        return F.binary_cross_entropy_with_logits(o, t, pos_weight=weight)

    return Run(model, x, y, loss, adam(model, 1e-3), found, 60, 128)


@case("output_scale", "nll_loss of logits: below 0, and without an end", 0.3, 0.8)
def nll_of_logits(fixed: bool) -> Run:
    x, y = digits()
    model = nn.Sequential(*stack(64, 64, 10), *[nn.LogSoftmax(1)] * fixed)

    return Run(model, x, y, F.nll_loss, adam(model, 1e-2), likelihood)


@case("dead", "a rectifier after the logits", 0.85, 0.9)
def rectified_logits(fixed: bool) -> Run:
    x, y = digits()
    model = nn.Sequential(*stack(64, 64, 10), *[nn.ReLU()] * (not fixed))
    with torch.no_grad():
        model[2].bias.sub_(1.0)  # drawn so that few classes can be said
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.05), accuracy, 250)


@case("target_scale", "an autoencoder that ends in a sigmoid, of standardized pictures", 0.4, 0.6)
def sigmoid_before_standardized_pictures(fixed: bool) -> Run:
    x, _ = digits()
    model = nn.Sequential(*stack(64, 48, 24, 48, 64), *[nn.Sigmoid()] * (not fixed))
    return Run(model, x, x, F.mse_loss, adam(model, 3e-3), explained, 300)


@case("imbalanced", "padding that the loss does not ignore", 0.7, 0.9)
def padding_in_the_loss(fixed: bool) -> Run:
    words = torch.randint(1, 32, (300, 40))
    words[torch.arange(40)[None] >= torch.randint(1, 4, (300, 1))] = 0
    swapped = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(31)])[words]
    model = nn.Sequential(nn.Embedding(32, 32), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))
    ignored = {"ignore_index": 0} if fixed else {}

    def loss(o, t):
        return F.cross_entropy(o.flatten(0, 1), t.flatten(), **ignored)

    def of_words(net, inputs, targets):
        said, real = answers(net, inputs).argmax(-1), targets > 0
        return float((said == targets)[real].double().mean())

    return Run(model, words, swapped, loss, adam(model, 1e-3), of_words, 120, 32)
