"""What one look says of networks whose training is known, classification and other tasks: chapter 13.

    python -m experiments.forecasts [NETWORK ...]

The networks of `experiments.tasks`, with its labels, and the 150 of tests/labelled_networks.py, which read digits, with
theirs: the three quantities that a forecast is a logistic curve of, for SGD and for Adam.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lstab import diagnose
from experiments.learners import LEARNERS
from experiments.stored import calculate, load
from experiments.tasks import BATCH, SEEDS, label
from tests.labelled_networks import configurations, network, samples

QUANTITIES = ("learnt", "excess", "directions")
DIGITS = {f"digits, {config['family']}: {config['id']}": config for config in configurations()}
ROWS = [*LEARNERS, *DIGITS]
SETTINGS = {"quantities": QUANTITIES, "batch": BATCH}
OPTIMIZERS = ("sgd", "adam")


def setting(name: str) -> tuple[nn.Module, Tensor, Tensor, Callable[..., Tensor]]:
    """A network as its first seed has it, the inputs and targets to look at, and the loss."""
    if name in DIGITS:
        return network(DIGITS[name]), *samples(DIGITS[name]), F.cross_entropy
    learner = LEARNERS[name]
    return learner.model(SEEDS[0]), *learner.task.first_batch(BATCH), learner.task.loss


def row(name: str) -> dict[str, list[float | None]]:
    """By optimizer: learnt, excess and directions; None where nothing was measured."""
    measured = diagnose(*setting(name)).trainability.quantities
    numbers = {which: [measured.get(f"{which}_{each}", nan) for each in QUANTITIES] for which in OPTIMIZERS}
    return {
        which: [round(number, 3) if isfinite(number) else None for number in three] for which, three in numbers.items()
    }


@dataclass(frozen=True)
class Forecasts:
    """What was measured of networks that have a label, and the label."""

    names: list[str]
    quantities: Tensor  # (networks, 3)
    trains: Tensor  # (networks,): 1 or 0

    @property
    def groups(self) -> list[str]:
        """The task of each network, or "digits" with its family."""
        return [name.partition(":")[0] for name in self.names]

    @property
    def digits(self) -> Tensor:
        """Whether each network classifies digits."""
        return torch.tensor([name in DIGITS for name in self.names])


def labels(which: str) -> dict[str, int | None]:
    """Whether "sgd" or "adam" trains each network, 1 or 0; None where that is not clear."""
    left = load("tasks")["rows"]
    digits = {name: config[f"{which}_label"] for name, config in DIGITS.items()}
    return {name: label(left[name][which]) for name in LEARNERS} | digits


def forecasts(which: str) -> Forecasts:
    """What is stored for "sgd" or "adam" of all networks that were measured and have a label."""
    rows, known = load("forecasts")["rows"], labels(which)
    names = [name for name in rows if known[name] is not None and None not in rows[name][which]]
    numbers = torch.tensor([rows[name][which] for name in names], dtype=torch.float64)
    trains = torch.tensor([known[name] for name in names], dtype=torch.float64)
    return Forecasts(names, numbers, trains)


def fitted(quantities: Tensor, labels: Tensor, ridge: float = 1.0) -> Tensor:
    """Weights and offset of the logistic regression that the forecast's constants come from: both labels weigh the same."""
    mean, spread = quantities.mean(0), quantities.std(0)
    rows = torch.cat([(quantities - mean) / spread, torch.ones(len(labels), 1, dtype=quantities.dtype)], 1)
    weight = torch.where(labels == 1, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    penalty = ridge * torch.eye(rows.shape[1], dtype=rows.dtype)
    penalty[-1, -1] = 1e-6
    found = torch.zeros(rows.shape[1], dtype=rows.dtype)
    for _ in range(25):  # Newton's steps
        p = (rows @ found).sigmoid()
        slope = rows.T @ (weight * (p - labels)) + penalty @ found
        found = found - torch.linalg.solve((rows.T * (weight * p * (1 - p))) @ rows + penalty, slope)
    weights = found[:-1] / spread
    return torch.cat([weights, (found[-1] - weights @ mean)[None]])


def left_out(quantities: Tensor, labels: Tensor, groups: list[str]) -> Tensor:
    """Log-odds of each network, with constants found without its group."""
    answers = torch.zeros_like(labels)
    for group in set(groups):
        inside = torch.tensor([each == group for each in groups])
        constants = fitted(quantities[~inside], labels[~inside])
        answers[inside] = quantities[inside] @ constants[:-1] + constants[-1]
    return answers


def reliability(chances: Tensor, trains: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each bin between two edges: how many chances it has, their mean, and the share that trained; NaN where none."""
    place = torch.bucketize(chances, edges[1:-1].to(chances))
    counts = torch.bincount(place, minlength=len(edges) - 1)
    means = [torch.bincount(place, each, minlength=len(edges) - 1) / counts for each in (chances, trains)]
    return counts, *means


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("forecasts", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
