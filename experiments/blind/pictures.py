"""Reports of pictures: their masks, their boxes, and whether two of them show the same."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, UNet, case, dice, digits, discs, standard
from experiments.cases.case import adam, answers, explained, sgd, stack


@case("squashed_twice", "github.com/computational-cell-analytics/patho-sam/pull/55", 0.4, 0.8)
def unet_sigmoid(fixed: bool, seed: int) -> Run:
    """U-Net that ends in a sigmoid, trained with BCEWithLogitsLoss."""
    x, t = discs(192, 24, 5, seed)
    model = UNet(*[nn.Sigmoid()] * (not fixed))
    return Run(
        model,
        x,
        t,
        loss=F.binary_cross_entropy_with_logits,
        optimizer=adam(model, 3e-3),
        batch=16,
        steps=150,
        score=dice,
    )


@case("unsquashed", "github.com/mberkay0/pretrained-backbones-unet/issues/7", 0.6, 0.8)
def dice_of_logits(fixed: bool, seed: int) -> Run:
    """The Dice loss has the condition of its sigmoid upside down: it is given logits."""
    x, t = discs(192, 24, 4, seed)
    model = UNet()

    def loss(o, y):
        p = torch.sigmoid(o) if fixed else o
        return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)

    return Run(model, x, t, loss=loss, optimizer=adam(model, 3e-3), batch=16, steps=150, score=dice)


@case("imbalanced", "github.com/jocicmarko/ultrasound-nerve-segmentation/issues/75", 0.2, 0.5)
def blank_masks(fixed: bool, seed: int) -> Run:
    """Objects of one percent of the pixels, plain cross-entropy: blank masks; with Dice beside it they are found."""
    x, t = discs(192, 32, 2, seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 1, 3, padding=1),
    )

    def both(o, y):
        p = torch.sigmoid(o)
        entropy = F.binary_cross_entropy_with_logits(o, y, pos_weight=torch.tensor(20.0))
        return entropy + 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)

    return Run(
        model,
        x,
        t,
        loss=both if fixed else F.binary_cross_entropy_with_logits,
        optimizer=sgd(model, 0.03),
        batch=16,
        steps=200,
        score=dice,
    )


@case("target_shape", "github.com/harveyslash/Facial-Similarity-with-Siamese-Networks-in-Pytorch/issues/27", 0.7, 0.85)
def siamese_keepdim(fixed: bool, seed: int) -> Run:
    """pairwise_distance without keepdim, labels (N, 1): each distance meets each label."""
    x, y = digits()
    x = standard(x)
    i, j = torch.randint(len(y), (2, 1536))
    half = torch.arange(1536) % 2 == 0
    same = {c: (y == c).nonzero()[:, 0] for c in range(10)}
    j = torch.where(half, torch.stack([same[int(c)][torch.randint(len(same[int(c)]), ())] for c in y[i]]), j)
    label = (y[i] != y[j]).float()[:, None]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = stack(64, 64, 64, 8)

        def forward(self, a, b):
            return self.f(a), self.f(b)

    model = Net()

    def loss(o, t):
        d = F.pairwise_distance(*o, keepdim=fixed)
        return ((1 - t) * d**2 + t * (2 - d).clamp(min=0) ** 2).mean()

    def score(net, i, t):
        d = F.pairwise_distance(*answers(net, i))
        return ((d > d.median()).float() == t[:, 0]).float().mean().item()

    return Run(model, (x[i], x[j]), label, loss=loss, optimizer=adam(model, 1e-3), batch=64, steps=400, score=score)


def boxes(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of discs, and of each where it is and how large it is, which its brightness tells."""
    x, m = discs(n, 16, 3, seed)
    pos = torch.stack([(m.sum((1, 3)) > 0).float().argmax(1), (m.sum((1, 2)) > 0).float().argmax(1)], 1) / 16
    w = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.2
    return x + w.mean(1)[:, None, None, None] * 2, torch.cat([pos, w.mean(1, keepdim=True).expand(n, 2)], 1)


def detector() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.ReLU(),
        nn.Linear(64, 4),
    )


@case("non_finite_forward", "github.com/DeepBaksuVision/You_Only_Look_Once/issues/7", 0.1, 0.6)
def root_of_negative(fixed: bool, seed: int) -> Run:
    """The square root of predicted widths, which start on both sides of zero."""
    x, t = boxes(384, seed)
    model = detector()

    def loss(o, y):
        wh = (o[:, 2:] - y[:, 2:].sqrt()) if fixed else (o[:, 2:].sqrt() - y[:, 2:].sqrt())
        return F.mse_loss(o[:, :2], y[:, :2]) + wh.square().mean()

    return Run(
        model,
        x,
        t,
        loss=loss,
        optimizer=adam(model, 2e-3),
        steps=300,
        score=lambda net, i, y: explained(net, i, torch.cat([y[:, :2], y[:, 2:].sqrt()], 1)),
    )


@case("non_finite_backward", "github.com/experiencor/keras-yolo3/issues/306", 0.1, 0.6)
def root_of_zero(fixed: bool, seed: int) -> Run:
    """The distance of boxes is a root of a masked sum: 0 for an image without an object, where its slope is infinite."""
    x, t = boxes(384, seed)
    t = torch.cat([t, (torch.arange(384) % 8 != 5).float()[:, None]], 1)
    model = detector()

    def loss(o, y):
        return ((y[:, 4:] * (o - y[:, :4]) ** 2).sum(1) + (1e-7 if fixed else 0)).sqrt().mean()

    def score(net, i, y):
        o = answers(net, i)
        return 1 - ((o[:, :2] - y[:, :2]).square().mean() / y[:, :2].var()).item()

    return Run(model, x, t, loss=loss, optimizer=adam(model, 2e-3), steps=300, score=score)
