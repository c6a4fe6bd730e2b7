"""What the package costs beside the loop a reader would otherwise write: ratios within one run.

    python -m benchmarks.run

Each pair is timed in turn, several times over, on one thread; the table shows the median ratio and its range.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from d2lstab import depth_sweep, digits, he_normal_, mlp, phase_diagram, random_product, seeded, train

REPEATS = 5
DATA = digits()


def product_loop(trials: int = 200) -> None:
    """The source's own loop: one 4 × 4 matrix times 100 others."""
    for _ in range(trials):
        product = torch.normal(0, 1, size=(4, 4))
        for _ in range(100):
            product = torch.mm(product, torch.normal(0, 1, size=(4, 4)))


def product_together(trials: int = 10_000) -> None:
    random_product(n=4, factors=101, trials=trials)


def sweep_loop(seeds: int = 8) -> None:
    """Forward second moments of one network after the other; it overflows where depth_sweep does not."""
    for seed in range(seeds):
        generator = seeded(seed)
        h, moments = torch.randn(64, 256, generator=generator), []
        weights = [torch.randn(256, 256, generator=generator) * (2 / 256) ** 0.5 for _ in range(50)]
        h.requires_grad_()
        layers = [h]
        for weight in weights:
            layers.append(torch.relu(layers[-1] @ weight.T))
            layers[-1].retain_grad()
            moments.append(layers[-1].square().mean().log())
        layers[-1].backward(torch.randn(64, 256, generator=generator))
        [layer.grad.square().mean().log() for layer in layers]


def sweep_together(seeds: int = 8) -> None:
    depth_sweep(he_normal_, torch.relu, depth=50, width=256, batch=64, seeds=range(seeds))


def phases_loop(points: int = 5) -> None:
    """χ at the fixed point, scale by scale: Gaussian means as sums over a grid, a hundred layers to settle."""
    z = torch.linspace(-10, 10, 2001, dtype=torch.float64)
    density = torch.softmax(-z.square() / 2, dim=0)
    for sigma_w in torch.linspace(0.5, 4, points).tolist():
        for sigma_b in torch.linspace(0, 2, points).tolist():
            q = 1.0
            for _ in range(100):
                q = sigma_w**2 * float(torch.tanh(q**0.5 * z).square() @ density) + sigma_b**2
            sigma_w**2 * float((1 - torch.tanh(q**0.5 * z).square()).square() @ density)


def phases_together() -> None:
    phase_diagram(torch.tanh)


def network(seed: int, width: int = 64) -> torch.nn.Module:
    return mlp([64] + [width] * 10 + [10], torch.relu, initializer=he_normal_, seed=seed)


def training_loop(seeds: int, batch: int, steps: int, width: int = 64) -> None:
    for seed in range(seeds):
        model, generator = network(seed, width), seeded(seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(steps):
            index = torch.randperm(len(DATA.inputs), generator=generator)[:batch]
            loss = F.cross_entropy(model(DATA.inputs[index]), DATA.targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def training_together(seeds: int, batch: int, steps: int, width: int = 64) -> None:
    train(
        partial(network, width=width), DATA, optimizer=partial(torch.optim.SGD, lr=0.05), seeds=range(seeds), batch=batch,
        steps=steps, progress=False,
    )  # fmt: skip


def training_mapped(seeds: int, batch: int, steps: int) -> None:
    """What torch.func's own tutorial does: vmap over functional_call."""
    models = [network(seed) for seed in range(seeds)]
    parameters, buffers = stack_module_state(models)
    optimizer = torch.optim.SGD(parameters.values(), lr=0.05)
    generators = [seeded(seed) for seed in range(seeds)]
    forward = vmap(lambda p, b, x: functional_call(models[0], (p, b), (x,)))
    for _ in range(steps):
        index = torch.stack([torch.randperm(len(DATA.inputs), generator=g)[:batch] for g in generators])
        losses = vmap(F.cross_entropy)(forward(parameters, buffers, DATA.inputs[index]), DATA.targets[index])
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()


def products_alone(seeds: int, batch: int, steps: int) -> None:
    """The matrix products of training_loop and nothing else: what no other arrangement can do without."""
    weight, h = torch.randn(64, 64), torch.randn(batch, 64)
    for _ in range(seeds * steps * 11):
        torch.mm(h, weight), torch.mm(h, weight), torch.mm(h.T, h)


def importing(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(loop: Callable[[], None], together: Callable[[], None], per: float = 1.0) -> tuple[float, float, float]:
    """Median, least and largest of loop / together, times `per`; the two take turns, after one round unmeasured."""
    loop(), together()
    ratios = sorted(per * seconds(loop) / seconds(together) for _ in range(REPEATS))
    return median(ratios), ratios[0], ratios[-1]


def main() -> None:
    torch.set_num_threads(1)
    rows = {
        "random_product, 10,000 × 101 factors, per trial": ratio(product_loop, product_together, per=10_000 / 200),
        "phase_diagram, 100 × 100 points, per point": ratio(phases_loop, phases_together, per=10_000 / 25),
        "depth_sweep, 8 seeds, depth 50, width 256": ratio(sweep_loop, sweep_together),
    }
    size = {"seeds": 16, "batch": 32, "steps": 100}
    for batch in (32, 128):
        size = size | {"batch": batch}
        name, loop = f"16 seeds of a 10 × 64 MLP, batch {batch}", partial(training_loop, **size)
        rows[f"train, {name}"] = ratio(loop, partial(training_together, **size))
        rows[f"  by vmap(functional_call), batch {batch}"] = ratio(loop, partial(training_mapped, **size))
        rows[f"  the matrix products alone, batch {batch}"] = ratio(loop, partial(products_alone, **size))
    for name, change in {
        "1 seed": {"seeds": 1},
        "4 seeds": {"seeds": 4},
        "width 256": {"width": 256, "steps": 20},
    }.items():
        changed = size | {"batch": 32} | change
        rows[f"train, as above at batch 32, but {name}"] = ratio(
            partial(training_loop, **changed), partial(training_together, **changed)
        )
    print(f"{'how many times cheaper than the plain loop':52} median (range of {REPEATS})")
    for name, (middle, least, most) in rows.items():
        print(f"{name:52} {middle:6.1f} ({least:.1f}–{most:.1f})")
    middle, least, most = ratio(partial(importing, "d2lstab"), partial(importing, "torch"))
    print(f"\nimport d2lstab takes {middle:.2f} times as long as import torch ({least:.2f}–{most:.2f})")


if __name__ == "__main__":
    main()
