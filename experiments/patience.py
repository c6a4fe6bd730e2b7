"""How soon Adam repairs a bad start, at the rate that the experiment on optimizers found best for it: chapter 06.

python -m experiments.patience [START ...]
"""

import sys
from collections.abc import Sequence

from experiments.optimizers import BATCH, OPTIMIZERS, RATES, SEEDS, STARTS, accuracy, learnt
from experiments.stored import calculate, load

STEPS = [10, 30, 70, 150, 300, 600, 1000, 1500]
ROWS = list(STARTS)
SETTINGS = {"optimizer": "Adam", "steps": STEPS, "seeds": list(SEEDS), "batch": BATCH}


def best_rate(start: str) -> float:
    """The rate of Adam whose median over seeds is highest after the largest budget."""
    found = accuracy({start: load("optimizers")["rows"][start]})[0, list(OPTIMIZERS).index("Adam")]
    return RATES["Adam"][int(found[:, -1].median(-1).values.argmax())]


def row(start: str) -> dict:
    """The rate, and how many of the 360 test digits are read (steps, seeds); each budget is a run of its own."""
    rate = best_rate(start)
    return {"rate": rate, "read": [learnt(start, "Adam", rate, steps) for steps in STEPS]}


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("patience", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
