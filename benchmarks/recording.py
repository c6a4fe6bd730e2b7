"""What it costs to watch a network, and to diagnose one: multiples of a plain forward and backward pass.

python -m benchmarks.recording
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import diagnose, record

REPEATS = 15
Row = tuple[float, float, float]  # median, least and largest ratio


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


def loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def plain_step(model: nn.Module, inputs, targets) -> None:
    model.zero_grad()
    loss(model(inputs), targets).backward()


def recorded_step(model: nn.Module, inputs, targets, *, full: bool) -> None:
    with record(model, full=full) as signals:
        plain_step(model, inputs, targets)
    signals.rows  # noqa: B018  reading them is part of the cost


def hooked_step(model: nn.Module, inputs, targets) -> None:
    """What a reader would write: the mean and standard deviation of each layer, and each gradient's norm."""
    found = []

    def look(module, arguments, output) -> None:
        found.append((output.mean().item(), output.std().item()))

    handles = [each.register_forward_hook(look) for each in model.modules() if not list(each.children())]
    plain_step(model, inputs, targets)
    found.extend(each.grad.norm().item() for each in model.parameters() if each.grad is not None)
    for handle in handles:
        handle.remove()


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(work: Callable[[], None], plain: Callable[[], None], repeats: int = REPEATS) -> Row:
    """Median, least and largest of work / plain; the two take turns, after one round unmeasured."""
    work(), plain()
    ratios = sorted(seconds(work) / seconds(plain) for _ in range(repeats))
    return median(ratios), ratios[0], ratios[-1]


def recording_rows() -> dict[str, Row]:
    """Each network's step, watched in three ways, over the plain one."""
    rows = {}
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        given = make()

        def plain(given=given):
            plain_step(*given)

        rows[f"record, {name}"] = ratio(lambda given=given: recorded_step(*given, full=False), plain)
        rows[f"record(full=True), {name}"] = ratio(lambda given=given: recorded_step(*given, full=True), plain)
        rows[f"forward hooks with .item(), {name}"] = ratio(lambda given=given: hooked_step(*given), plain)
    return rows


def diagnosis_rows() -> dict[str, Row]:
    """A whole diagnosis of ResNet-50 in plain steps, and its peak memory over that of one."""
    torch.manual_seed(0)
    model, inputs, targets = resnet50()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    times = ratio(
        lambda: diagnose(model, inputs, targets, loss, optimizer=optimizer),
        lambda: plain_step(model, inputs, targets),
        3,
    )
    memory = peak_memory("diagnose") / peak_memory("plain")
    return {"diagnose with an optimizer, ResNet-50": times, "its peak memory, ResNet-50": (memory, memory, memory)}


def peak_memory(what: str) -> float:
    """The peak memory in MB of a fresh process that does this once, over what it holds before."""
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.recording", what], capture_output=True, text=True, check=True
    )
    return float(out.stdout)


def peak() -> float:
    """The most memory this process has had, in MB, by Linux: unlike getrusage, it forgets the process that began it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**10


def measure(what: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, inputs, targets = resnet50()
    parameters = sum(each.numel() * each.element_size() for each in model.parameters()) / 2**20
    before = peak()
    if what == "plain":
        plain_step(model, inputs, targets)
    else:
        diagnose(model, inputs, targets, loss, optimizer=torch.optim.SGD(model.parameters(), lr=0.01))
    print(peak() - before + parameters)


def main() -> None:
    torch.set_num_threads(1)
    for name, (middle, least, most) in {**recording_rows(), **diagnosis_rows()}.items():
        print(f"{name:52} {middle:6.2f} ({least:.2f}–{most:.2f})")


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
