"""Which bad starts an optimizer repairs, at which rate and how soon: chapter 06.

    python -m experiments.optimizers [START ...]

Nine starts, six optimizers, five rates each, the digits. Every run begins anew for each budget, so a number of 70 steps
is what a chapter measures in 70 steps; a run of which the median has passed `ENOUGH` is given no more.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from d2lstab import digits, he_normal_, lecun_normal_, mlp, normal_, seeded, train
from experiments.stored import calculate

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": SGD,
    "momentum": partial(SGD, momentum=0.9),
    "Adagrad": Adagrad,
    "RMSProp": RMSprop,
    "Adam": Adam,
    "AdamW": AdamW,
}
RATES = {  # about half a power of ten apart; the middle one is that of the healthy start
    "SGD": [0.01, 0.03, 0.1, 0.3, 1.0],
    "momentum": [0.003, 0.01, 0.03, 0.1, 0.3],
    "Adagrad": [0.003, 0.01, 0.03, 0.1, 0.3],
    "RMSProp": [0.0003, 0.001, 0.003, 0.01, 0.03],
    "Adam": [0.001, 0.003, 0.01, 0.03, 0.1],
    "AdamW": [0.001, 0.003, 0.01, 0.03, 0.1],
}
BUDGETS = [70, 300, 1500]  # steps
SEEDS = range(8)
BATCH = 64
ENOUGH = 0.9
EXAMPLES = 360  # to be tested on


def plain(seed: int, *, depth: int, f: Callable, initializer: Callable, bias_std: float = 0.0) -> nn.Module:
    """A network of hidden layers of 32, its biases 0 or from N(0, bias_std²)."""
    network = mlp([64] + depth * [32] + [10], f, initializer=initializer, seed=seed)
    generator = seeded(seed)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=bias_std, generator=generator)
    return network


def torch_default(seed: int, *, depth: int) -> nn.Module:
    """Torch's own linear layers of 32 and ReLUs, as they come."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Sequential(nn.Linear(32 if layer else 64, 32), nn.ReLU()) for layer in range(depth)]
        return nn.Sequential(*layers, nn.Linear(32, 10))


def constant_(weight: Tensor, *, generator: torch.Generator) -> Tensor:
    """The weight, every entry 0.1."""
    return nn.init.constant_(weight, 0.1)


def _gain(gain: float) -> Callable:
    return partial(lecun_normal_, gain=gain)


_TINY = partial(normal_, std=0.01)
STARTS: dict[str, Callable[[int], nn.Module]] = {
    "healthy: He, 4 ReLU": partial(plain, depth=4, f=torch.relu, initializer=he_normal_),
    "torch default, 5 ReLU": partial(torch_default, depth=5),
    "tiny: N(0, 0.01²), 3 tanh": partial(plain, depth=3, f=torch.tanh, initializer=_TINY),
    "large: gain 7, 4 ReLU": partial(plain, depth=4, f=torch.relu, initializer=_gain(7)),
    "saturated: gain 50, 3 sigmoid": partial(plain, depth=3, f=torch.sigmoid, initializer=_gain(50)),
    "torch default, 14 ReLU": partial(torch_default, depth=14),
    "tiny: N(0, 0.01²), 8 tanh": partial(plain, depth=8, f=torch.tanh, initializer=_TINY),
    "ordered: gain 0.6, 14 tanh": partial(plain, depth=14, f=torch.tanh, initializer=_gain(0.6), bias_std=0.3),
    "constant: 0.1, 3 tanh": partial(plain, depth=3, f=torch.tanh, initializer=constant_),
}
ROWS = list(STARTS)
SETTINGS = {"rates": RATES, "steps": BUDGETS, "seeds": list(SEEDS), "batch": BATCH, "enough": ENOUGH}


def learnt(start: str, optimizer: str, rate: float, steps: int) -> list[int]:
    """How many of the 360 test digits each seed's network reads after so many steps."""
    run = train(
        STARTS[start],
        digits(),
        optimizer=partial(OPTIMIZERS[optimizer], lr=rate),
        steps=steps,
        batch=BATCH,
        seeds=SEEDS,
        progress=False,
    )
    return (run.accuracy * EXAMPLES).round().int().tolist()


def row(start: str) -> dict[str, list[list[list[int]]]]:
    """By optimizer: digits read (rates, budgets, seeds), with as many budgets as were needed."""
    return {name: [_until_enough(start, name, rate) for rate in RATES[name]] for name in OPTIMIZERS}


def accuracy(rows: dict[str, dict[str, list]]) -> Tensor:
    """The stored rows as (starts, optimizers, rates, budgets, seeds); a run given no more keeps what it had."""
    squares = [
        run + [run[-1]] * (len(BUDGETS) - len(run)) for name in rows for row in rows[name].values() for run in row
    ]
    return torch.tensor(squares).unflatten(0, (len(rows), len(OPTIMIZERS), -1)) / EXAMPLES


def _until_enough(start: str, optimizer: str, rate: float) -> list[list[int]]:
    read: list[list[int]] = []
    for steps in BUDGETS:
        read.append(learnt(start, optimizer, rate, steps))
        if torch.tensor(read[-1]).double().median() > ENOUGH * EXAMPLES:
            break
    return read


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("optimizers", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
