"""What the package costs beside the loop a reader would otherwise write."""

import subprocess
import sys
from functools import partial

import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from benchmarks.ratios import Row, ratio
from d2lstab import depth_sweep, digits, he_normal_, mlp, random_product, seeded, train
from d2lstab.mean_field import phase_diagram

REPEATS = 5
LIMITS = {"import d2lstab": 1.1}
cheaper = partial(ratio, repeats=REPEATS)
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


def products_alone(seeds: int, batch: int, steps: int, *, cold: bool = False) -> None:
    """The matrix products of training_loop and nothing else, one for each layer and direction: no step does without.

    cold: each with operands of its own, as in a step, where weights, gradients and signals of all layers do not fit
    the cache; else with the same ones again and again.
    """
    layers = 11 if cold else 1
    weights, signals = torch.randn(layers, seeds, 64, 64), torch.randn(layers, seeds, batch, 64)
    kept: list[torch.Tensor] = [torch.empty(0)] * 11  # gradients live until the optimizer's step
    for _ in range(steps):
        for place in range(11):
            weight, h = weights[place % layers], signals[place % layers]
            torch.bmm(h, weight.mT), torch.bmm(h, weight)
            kept[place] = torch.bmm(h.mT, h)


def importing(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


def rows() -> dict[str, dict[str, Row]]:
    """How many times cheaper the package is than each loop, and what it adds to an import."""
    found = {
        "random_product, 10,000 × 101 factors, per trial": cheaper(product_loop, product_together, per=10_000 / 200),
        "phase_diagram, 100 × 100 points, per point": cheaper(phases_loop, phases_together, per=10_000 / 25),
        "depth_sweep, 8 seeds, depth 50, width 256": cheaper(sweep_loop, sweep_together),
    }
    size = {"seeds": 16, "batch": 32, "steps": 100}
    for batch in (32, 128):
        size = size | {"batch": batch}
        name, loop = f"16 seeds of a 10 × 64 MLP, batch {batch}", partial(training_loop, **size)
        found[f"train, {name}"] = cheaper(loop, partial(training_together, **size))
        found[f"  by vmap(functional_call), batch {batch}"] = cheaper(loop, partial(training_mapped, **size))
        for state in ("warm", "cold"):
            alone = partial(products_alone, **size, cold=state == "cold")
            found[f"  the batched products alone, {state}, batch {batch}"] = cheaper(loop, alone)
    for name, change in {
        "1 seed": {"seeds": 1},
        "4 seeds": {"seeds": 4},
        "width 256": {"width": 256, "steps": 20},
    }.items():
        changed = size | {"batch": 32} | change
        loop, together = partial(training_loop, **changed), partial(training_together, **changed)
        found[f"train, as above at batch 32, but {name}"] = cheaper(loop, together)
    imports = ratio(partial(importing, "d2lstab"), partial(importing, "torch"), REPEATS)
    return {
        "the plain loop, over what replaces it (on the CPU)": found,
        "over import torch": {"import d2lstab": imports},
    }
