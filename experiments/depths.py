"""How fast, and how well, networks of few and of many ReLU layers learn from three initializers: chapter 04.

python -m experiments.depths [ROW ...]
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from torch import nn
from torch.optim import SGD, Adam, Optimizer

from d2lstab import digits, he_normal_, mlp, train, xavier_normal_
from d2lstab.training import History
from experiments.stored import calculate

STEPS, SEEDS, EVERY = 300, range(8), 5
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "SGD 0.03": partial(SGD, lr=0.03),
    "SGD 0.1": partial(SGD, lr=0.1),
    "SGD 0.3": partial(SGD, lr=0.3),
    "SGD 0.1, weight decay 0.01": partial(SGD, lr=0.1, weight_decay=0.01),
    "momentum 0.003": partial(SGD, lr=0.003, momentum=0.9),
    "momentum 0.01": partial(SGD, lr=0.01, momentum=0.9),
    "momentum 0.03": partial(SGD, lr=0.03, momentum=0.9),
    "momentum 0.1": partial(SGD, lr=0.1, momentum=0.9),
    "Adam 0.001": partial(Adam, lr=0.001),
}
FEW, MANY = list(OPTIMIZERS)[:4], list(OPTIMIZERS)[4:]
LATER = {"SGD 0.1": 1000, "SGD 0.1, weight decay 0.01": 3000}  # steps after which accuracy is measured again


def torch_default(seed: int, *, depth: int) -> nn.Module:
    """Torch's own linear layers of 64 and ReLUs, as they come; `train` seeds the stream that they are drawn from."""
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(64, 10))


def he(seed: int, *, depth: int) -> nn.Module:
    """Hidden ReLU layers of 64 with He's weights."""
    return mlp([64] * (depth + 1) + [10], nn.functional.relu, initializer=he_normal_, seed=seed)


def xavier(seed: int, *, depth: int) -> nn.Module:
    """Hidden ReLU layers of 64 with Xavier's weights, gain 1."""
    return mlp([64] * (depth + 1) + [10], nn.functional.relu, initializer=xavier_normal_, seed=seed)


NETWORKS: dict[str, tuple[Callable[..., nn.Module], int, list[str]]] = {
    **{f"default, {depth}": (torch_default, depth, FEW) for depth in (1, 3, 5)},
    **{f"He, {depth}": (he, depth, FEW) for depth in (1, 3, 5)},
    **{f"Xavier, {depth}": (xavier, depth, MANY) for depth in (22, 30)},
    **{f"He, {depth}": (he, depth, MANY) for depth in (22, 30)},
}
ROWS = list(NETWORKS)
SETTINGS = {
    "steps": STEPS,
    "seeds": list(SEEDS),
    "every": EVERY,
    "optimizers": {"few": FEW, "many": MANY},
    "later": LATER,
}


def learn(name: str, optimizer: str, steps: int = STEPS) -> History:
    """The history of one row's networks under one optimizer."""
    make, depth, _ = NETWORKS[name]
    return train(
        partial(make, depth=depth), digits(), optimizer=OPTIMIZERS[optimizer], steps=steps, seeds=SEEDS, progress=False
    )


def row(name: str) -> dict:
    """For each optimizer the median loss of every fifth step, each seed's accuracy in the end, and later where asked for."""
    found = {}
    for optimizer in NETWORKS[name][2]:
        history = learn(name, optimizer)
        loss = history.loss[:, ::EVERY].nan_to_num(nan=float("inf")).median(0).values
        found[optimizer] = {
            "loss": [round(value, 4) for value in loss.tolist()],
            "accuracy": [round(value, 4) for value in history.accuracy.tolist()],
        }
        if optimizer in LATER:
            accuracy = learn(name, optimizer, LATER[optimizer]).accuracy
            found[optimizer]["later"] = [round(value, 4) for value in accuracy.tolist()]
    return found


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("depths", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
