"""Which networks train on tasks other than the classification of digits: chapter 13.

    python -m experiments.tasks [TASK ...]

Nineteen tasks, each with networks that should train and networks that should not. Every network is trained with SGD
(momentum 0.9) and with Adam at several rates from three seeds, 300 steps each, on fresh batches; what counts is the loss
on samples that were held out, as a share of a constant answer's: the best one, but equal chances for the next token, and no
solution for the equation. An optimizer trains a network if it brings this
share to `ENOUGH` or below from every seed, at that seed's best rate, and does not if it stays at `LITTLE` or above from
every seed; what is in between, or differs from seed to seed, has no label. A run ends early once it has enough, where its
loss is not finite, and where a third of its steps have left more than `IDLE`.
"""

import sys
from collections.abc import Sequence
from math import inf, isfinite

import torch
from torch import Tensor
from torch.optim import SGD, Adam

from d2lstab import seeded
from experiments.learners import LEARNERS, Learner
from experiments.stored import calculate

RATES = {"sgd": [0.1, 0.01, 0.001, 0.0001], "adam": [0.01, 0.001, 0.0001]}
STEPS, EVERY, SEEDS = 300, 25, range(3)
BATCH = 64
ENOUGH, LITTLE, IDLE = 0.4, 0.7, 0.95
ROWS = list(LEARNERS)
SETTINGS = {
    "rates": RATES,
    "steps": STEPS,
    "every": EVERY,
    "seeds": list(SEEDS),
    "batch": BATCH,
    "enough": ENOUGH,
    "little": LITTLE,
    "idle": IDLE,
}


def left(learner: Learner, which: str, rate: float, seed: int) -> float:
    """The least share of a constant answer's held-out loss, over looks every few steps."""
    task, model = learner.task, learner.model(seed)
    optimizer = SGD(model.parameters(), rate, momentum=0.9) if which == "sgd" else Adam(model.parameters(), rate)
    generator, least = seeded(seed), inf
    for step in range(1, STEPS + 1):
        loss = task.loss(*task.batch(model, BATCH, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % EVERY == 0:
            share = task.share(model)
            least = min(least, share)
            if least <= ENOUGH or not isfinite(share) or (least > IDLE and step >= STEPS // 3):
                break
    return least


def best(learner: Learner, which: str, seed: int) -> float:
    """What is left at the best rate, or at the first that leaves little enough; infinite where none stays finite."""
    least = inf
    for rate in RATES[which]:
        least = min(least, left(learner, which, rate, seed))
        if least <= ENOUGH:
            break
    return least


def row(name: str) -> dict[str, list[float | None]]:
    """What is left at the best rate for each seed, by optimizer; None where no rate stays finite."""
    return {which: [_rounded(best(LEARNERS[name], which, seed)) for seed in SEEDS] for which in RATES}


def label(shares: list[float | None]) -> int | None:
    """1 where every seed trains, 0 where none does, None in between; what did not stay finite has not trained."""
    known = Tensor([inf if each is None else each for each in shares])
    return 1 if (known <= ENOUGH).all() else 0 if (known >= LITTLE).all() else None


def _rounded(number: float) -> float | None:
    return round(number, 3) if isfinite(number) else None


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    torch.set_num_threads(1)
    calculate("tasks", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
