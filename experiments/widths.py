"""Which learning rate of Adam is best at which width, in the standard parametrization and in muP: chapter 15.

    python -m experiments.widths [ROW ...]

Three hidden layers of ReLUs learn the digits for a few steps. At the narrowest width the two parametrizations are the
same network with the same rates. Source: Yang et al. 2022, arXiv:2203.03466, table 3.
"""

import sys
from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from d2lstab import digits, fans, he_normal_, mlp, train
from experiments.stored import calculate

BASE = 64  # the width at which muP is the standard parametrization, and the digits' number of inputs
WIDTHS = [64, 128, 256, 512]
RATES = [0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06]
STEPS, LAST = 60, 10
SEEDS = range(8)
BATCH = 64
ROWS = [f"{kind}, {width}" for kind in ("standard", "muP") for width in WIDTHS]
SETTINGS = {"rates": RATES, "steps": STEPS, "last": LAST, "seeds": list(SEEDS), "batch": BATCH, "base": BASE}


def network(width: int, seed: int, *, small_output: bool = False) -> nn.Sequential:
    """Three hidden layers with He's weights; in muP the output starts smaller by a further root of width / BASE."""
    net = mlp([64] + 3 * [width] + [10], torch.relu, initializer=he_normal_, seed=seed)
    if small_output:
        with torch.no_grad():
            net[-1].weight *= (BASE / width) ** 0.5
    return net


def adam(parameters: Iterable[Tensor], lr: float, *, by_fan_in: bool = False) -> Adam:
    """Adam; in muP the rate of a matrix is divided by its fan_in / BASE, that of a bias is as it is."""
    groups = [
        {"params": [p], "lr": lr * BASE / fans(p).fan_in if by_fan_in and p.dim() > 1 else lr} for p in parameters
    ]
    return Adam(groups)


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """U Vᵀ of the matrix's singular value decomposition U S Vᵀ, nearly: singular values between 0.6 and 1.25.

    Each step maps every singular value s to 3.4445 s − 4.775 s³ + 2.0315 s⁵. Those below a thousandth of the norm stay
    smaller. Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    x = matrix / (matrix.norm() + 1e-7)
    x = x.mT if len(matrix) > matrix.shape[1] else x
    for _ in range(steps):
        square = x @ x.mT
        x = 3.4445 * x + (2.0315 * square @ square - 4.775 * square) @ x
    return x.mT if len(matrix) > matrix.shape[1] else x


class Muon(Optimizer):
    """Moves every matrix by the rate × √(fan_out / fan_in) × its orthogonalized momentum; leaves biases where they are.

    The factor lets a step change the rms of a layer's output by at most 1.25 × the rate × the rms of its input,
    whatever the width. torch.optim.Muon is newer than the oldest torch that the course runs on.
    Sources: Jordan et al. 2024; Bernstein and Newhouse 2024, arXiv:2409.20325, for the factor.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() == 2 and p.grad is not None:
                    mean = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    mean.lerp_(p.grad, 1 - group["momentum"])
                    ahead = p.grad.lerp(mean, group["momentum"])  # Nesterov's
                    p.sub_(orthogonalized(ahead), alpha=group["lr"] * (len(p) / p.shape[1]) ** 0.5)


def reached(kind: str, width: int, rate: float, seeds: Iterable[int] = SEEDS) -> Tensor:
    """Each seed's training loss, mean over the last steps: (seeds,). kind: "standard" or "muP"."""
    run = train(
        lambda seed: network(width, seed, small_output=kind == "muP"),
        digits(),
        optimizer=partial(adam, lr=rate, by_fan_in=kind == "muP"),
        steps=STEPS,
        batch=BATCH,
        seeds=seeds,
        progress=False,
    )
    return run.loss[:, -LAST:].mean(1)


def row(name: str) -> list[list[float]]:
    """The loss reached, (rates, seeds)."""
    kind, _, width = name.partition(", ")
    return [[round(loss, 4) for loss in reached(kind, int(width), rate).tolist()] for rate in RATES]


def loss_of(rows: dict[str, list[list[float]]]) -> dict[str, Tensor]:
    """The stored rows by parametrization: (widths, rates, seeds) each."""
    found = torch.tensor([rows[name] for name in ROWS], dtype=torch.float64)
    return dict(zip(("standard", "muP"), found.unflatten(0, (2, len(WIDTHS)))))


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("widths", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
