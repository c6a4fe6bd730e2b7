"""Which remedy repairs which patient at a rate and with the time that suit it: chapter 05.

    python -m experiments.remedies [PATIENT ...]

The matrix of the chapter with three learning rates, and ten times the steps where no rate has passed `ENOUGH` before.
All rates of a cell are trained in one stack, each with seeds of its own; those of the first rate are the chapter's.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from d2lstab import digits, train
from d2lstab.remedies import PATIENTS, REMEDIES, Patient
from experiments.stored import calculate

RATES = [0.03, 0.01, 0.003]
BUDGETS = [60, 600]  # steps
SEEDS = 8  # of each rate
BATCH = 64
ENOUGH = 0.8
EXAMPLES = 1437  # that the networks learn from, and are tested on
ROWS = [name for name, patient in PATIENTS.items() if patient.depth == 20]  # 50 take as long as all of these
SETTINGS = {"rates": RATES, "steps": BUDGETS, "seeds": SEEDS, "batch": BATCH, "enough": ENOUGH}


@cache
def learnt(patient: Patient, steps: int) -> tuple[tuple[int, ...], ...]:
    """How many training digits are read after so many steps, (rates, seeds); momentum 0.9."""
    data = digits()
    data = replace(data, test_inputs=data.inputs, test_targets=data.targets)
    run = train(
        patient.network,
        data,
        optimizer=partial(torch.optim.SGD, lr=1.0, momentum=0.9),
        clip=partial(_clip_and_scale, patient),
        steps=steps,
        batch=BATCH,
        seeds=range(len(RATES) * SEEDS),
        progress=False,
    )
    read = (run.accuracy * len(data.inputs)).round().int().view(len(RATES), SEEDS)
    return tuple(map(tuple, read.tolist()))


def row(name: str) -> dict[str, list]:
    """By remedy: digits read (budgets, rates, seeds), with as many budgets as were needed."""
    return {remedy: _until_enough(treat(PATIENTS[name])) for remedy, treat in REMEDIES.items()}


def accuracy(rows: Mapping[str, Mapping[str, list]]) -> Tensor:
    """The stored rows as (patients, remedies, budgets, rates, seeds); NaN where more steps were not needed."""
    cells = torch.full((len(rows), len(REMEDIES), len(BUDGETS), len(RATES), SEEDS), torch.nan)
    for patient, by_remedy in enumerate(rows.values()):
        for remedy, name in enumerate(REMEDIES):
            read = torch.tensor(by_remedy[name])
            cells[patient, remedy, : len(read)] = read / EXAMPLES
    return cells


def best(rows: Mapping[str, Mapping[str, list]]) -> Tensor:
    """The median over seeds at the best rate, (patients, remedies, budgets); a cell given no more keeps what it had."""
    found = accuracy(rows).median(-1).values.amax(-1)
    return torch.where(found.isnan(), found[..., :1], found)


def _clip_and_scale(patient: Patient, gradients: Sequence[Tensor]) -> None:
    """Momentum is linear: a gradient times a rate is a step of that rate."""
    if patient.clip is not None:
        patient.clip(gradients)
    for gradient in gradients:
        rates = torch.tensor(RATES).repeat_interleave(SEEDS).to(gradient)
        gradient.mul_(rates.view(-1, *[1] * (gradient.dim() - 1)))


def _until_enough(patient: Patient) -> list[tuple[tuple[int, ...], ...]]:
    read: list[tuple[tuple[int, ...], ...]] = []
    for steps in BUDGETS:
        read.append(learnt(patient, steps))
        if torch.tensor(read[-1]).double().median(-1).values.max() > ENOUGH * EXAMPLES:
            break
    return read


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("remedies", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
