"""What each choice of today's recipe for transformers is worth, over learning rates: chapter 15.

    python -m experiments.recipe [ROW ...]

Small pre-norm transformers of characters, with five choices of Karpathy's nanochat (2025) and with one of them taken
back at a time. "none" takes back all five.
"""

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from d2lstab import Dataset, lecun_normal_, train
from d2lstab.datasets import characters
from d2lstab.initializers import lecun_uniform_
from d2lstab.networks import transformer
from experiments.stored import calculate

CHOICES = ("zero projections", "uniform", "small head", "QK-norm", "squared ReLU")
ROWS = ["all", *(f"without {choice}" for choice in CHOICES), "none"]
WIDTH, BLOCKS, LENGTH = 32, 4, 16
HEAD = 0.001  # standard deviation of the small head's weights
RATES = [0.003, 0.01, 0.03, 0.1]
STEPS, LAST = [100, 400], 25
SEEDS = range(8)
BATCH = 8
SETTINGS = {"rates": RATES, "steps": STEPS, "last": LAST, "seeds": list(SEEDS), "batch": BATCH}


def squared_relu(z: Tensor) -> Tensor:
    """relu(z)²."""
    return z.relu().square()


def network(vocabulary: int, seed: int, *, without: Iterable[str] = ()) -> nn.Sequential:
    """A transformer with all of CHOICES but some, in whose place stands what was usual before."""
    made = set(CHOICES).difference(without)
    net = transformer(
        vocabulary,
        WIDTH,
        BLOCKS,
        length=LENGTH,
        activation=squared_relu if "squared ReLU" in made else torch.relu,
        initializer=lecun_uniform_ if "uniform" in made else lecun_normal_,
        qk_norm="QK-norm" in made,
        seed=seed,
    )
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "zero projections" in made and name.endswith("branch.output.weight"):
                weight.zero_()
        if "small head" in made:
            net[-1].weight *= HEAD * sqrt(WIDTH)
    return net


def per_character(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over all places of all lines."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def adam(parameters: Iterable[Tensor], lr: float, *, head: float = 1.0) -> Adam:
    """Adam, with the rate of the last parameter, the head, multiplied by `head`."""
    *others, last = parameters
    return Adam([{"params": others, "lr": lr}, {"params": [last], "lr": lr * head}])


def reached(
    name: str, rate: float, steps: int = STEPS[-1], seeds: Iterable[int] = SEEDS, *, head: float = 1.0
) -> Tensor:
    """Each seed's training loss, mean over the last steps of each budget within `steps`: (budgets, seeds).

    NaN where a seed stopped. head: by what its rate is multiplied.
    """
    text, alphabet = characters(LENGTH)
    text = Dataset(text.inputs, text.targets, text.test_inputs[:8], text.test_targets[:8])
    without = CHOICES if name == "none" else [choice for choice in CHOICES if name.endswith(choice)]
    loss = train(
        lambda seed: network(len(alphabet), seed, without=without),
        text,
        optimizer=partial(adam, lr=rate, head=head),
        loss=per_character,
        steps=steps,
        batch=BATCH,
        seeds=seeds,
        progress=False,
    ).loss
    return torch.stack([loss[:, budget - LAST : budget].mean(1) for budget in STEPS if budget <= steps])


def row(name: str) -> list[list[list[float]]]:
    """The loss reached, (rates, budgets, seeds)."""
    return [[[round(loss, 4) for loss in seeds] for seeds in reached(name, rate).tolist()] for rate in RATES]


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("recipe", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
