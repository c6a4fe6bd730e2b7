"""Reports of pictures: masks, labels, and what looks at them."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case, dice, digits, discs, standard
from experiments.cases.case import accuracy, adam, answers, in_evaluation


def of_pixels(answers: int) -> nn.Sequential:
    """Three convolutions, with so many answers for each pixel."""
    wide = nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU()
    return nn.Sequential(*wide, nn.Conv2d(16, answers, 3, padding=1))


@case("target_scale", "github.com/divamgupta/image-segmentation-keras/issues/30", 0.7, 0.8)
def mask_of_0_and_255(fixed: bool, seed: int) -> Run:
    """Binary masks that hold 0 and 255 with a binary cross-entropy: predictions of one colour."""
    x, mask = discs(256, 16, 3, 5)
    model = of_pixels(1)
    y = mask if fixed else mask * 255

    def score(model, x, y):
        return dice(model, x, (y > 0).float())

    return Run(model, x, y, F.binary_cross_entropy_with_logits, adam(model, 3e-3), score=score, batch=32, steps=200)


@case("untrained", "github.com/tensorlayer/TensorLayer/issues/891", 0.5, 0.8)
def dice_after_argmax(fixed: bool, seed: int) -> Run:
    """A dice loss of the argmax of the logits: no gradient passes it (made to run by requires_grad_, as many do)."""
    x, mask = discs(256, 16, 3, 6)
    model = of_pixels(2)

    def loss(out, y):
        p = out.softmax(1)[:, 1] if fixed else out.argmax(1).float().requires_grad_()
        return 1 - (2 * (p * y[:, 0]).sum() + 1) / (p.sum() + y.sum() + 1)

    def score(model, x, y):
        found = (answers(model, x).argmax(1, keepdim=True) == 1).float()
        return float(2 * (found * y).sum() / (found.sum() + y.sum() + 1e-9))

    return Run(model, x, mask, loss, adam(model, 3e-3), score=score, batch=32, steps=200)


@case("modes_differ", "github.com/yangze0930/NTS-Net/issues/14", 0.8, 0.9)
def dropout_made_in_forward(fixed: bool, seed: int) -> Run:
    """nn.Dropout(0.5) is made anew in forward(): eval() does not reach it, results differ at test time."""
    x, y = digits()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 12), nn.ReLU())
            self.head = nn.Linear(12, 10)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            x = self.body(x)
            return self.head(self.drop(x) if fixed else nn.Dropout(0.5)(x))

    model = Net()
    return Run(model, standard(x), y, F.cross_entropy, adam(model, 3e-3), score=in_evaluation, batch=64, steps=600)


@case("", "github.com/Borda/kaggle_image-classify/pull/12", 0.3, 0.9)
def labels_taken_before_shuffling(fixed: bool, seed: int) -> Run:
    """The table was shuffled after the labels had been taken from it: pairs that do not belong together."""
    x, y = digits()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10)
    )
    truth = y[order]

    def score(model, x, y):
        return accuracy(model, x, truth)

    return Run(
        model,
        standard(x)[order],
        truth if fixed else y,
        F.cross_entropy,
        adam(model, 3e-3),
        score=score,
        batch=64,
        steps=400,
    )


@case("blind untrained", "github.com/lucidrains/halonet-pytorch/pull/6", 0.3, 0.8)
def attention_to_the_padding_alone(fixed: bool, seed: int) -> Run:
    """HaloNet's padding mask was inverted: the image is masked, and the zeros around it are attended to."""
    x, y = digits()

    class Halo(nn.Module):
        def __init__(self, width=16, block=4, halo=1):
            super().__init__()
            self.width, self.block, self.halo = width, block, halo
            self.query, self.key_value = nn.Conv2d(width, width, 1, bias=False), nn.Linear(width, 2 * width, bias=False)

        def windows(self, x):
            size = self.block + 2 * self.halo
            found = F.unfold(x, size, stride=self.block, padding=self.halo)  # (N, C * size ** 2, blocks)
            return found.unflatten(1, (x.shape[1], size**2)).permute(0, 3, 2, 1)

        def forward(self, x):
            q = F.unfold(self.query(x), self.block, stride=self.block)
            q = q.unflatten(1, (self.width, self.block**2)).permute(0, 3, 2, 1)
            k, v = self.key_value(self.windows(x)).chunk(2, -1)
            inside = self.windows(torch.ones_like(x[:1, :1]))[..., 0].bool()[:, :, None]
            sim = (q @ k.transpose(2, 3)) * self.width**-0.5
            sim = sim.masked_fill(~inside if fixed else inside, -torch.finfo(sim.dtype).max)
            out = (sim.softmax(-1) @ v).permute(0, 3, 2, 1).flatten(1, 2)
            return F.fold(out, x.shape[2:], self.block, stride=self.block)

    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        Halo(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(576, 10),
    )
    return Run(model, standard(x), y, F.cross_entropy, adam(model, 3e-3), score=accuracy, batch=64, steps=250)
