"""The networks that are watched, and one step of each."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.ratios import DEVICE


class Block(nn.Module):
    """A transformer's block, as GPT-2 has it."""

    def __init__(self, width: int = 256, heads: int = 4):
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        samples, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(samples, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(samples, length, width))
        return x + self.mlp(self.norm2(x))


def perceptron() -> tuple:
    hidden = [each for _ in range(50) for each in (nn.Linear(256, 256), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Linear(256, 10)), torch.randn(64, 256), torch.arange(64) % 10


def resnet18() -> tuple:
    from torchvision.models import resnet18

    return resnet18(num_classes=10), torch.randn(8, 3, 64, 64), torch.arange(8)


def resnet50() -> tuple:
    from torchvision.models import resnet50

    return resnet50(num_classes=10), torch.randn(8, 3, 64, 64), torch.arange(8)


def gpt() -> tuple:
    model = nn.Sequential(nn.Embedding(512, 256), *[Block() for _ in range(6)], nn.LayerNorm(256), nn.Linear(256, 512))
    ids = torch.randint(512, (8, 64))
    return model, ids, ids


NETWORKS = {"50-layer tanh MLP": perceptron, "ResNet-18, 8 × 64 × 64": resnet18, "6-layer GPT": gpt}


def placed(make: Callable[[], tuple]) -> tuple:
    """A network from one seed, its inputs and its targets, on the device of the benchmarks."""
    torch.manual_seed(0)
    return tuple(each.to(DEVICE) for each in make())


def loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def plain_step(model: nn.Module, inputs, targets) -> None:
    model.zero_grad()
    loss(model(inputs), targets).backward()
