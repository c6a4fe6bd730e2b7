"""Exercises of chapter 12: what happens while a network trains."""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch.nn import functional as F
from torch.optim import SGD, Adam, RMSprop

from ..datasets import digits
from ..initializers import he_normal_
from ..monitoring import Monitor, TrainingSignals
from ..monitoring.signals import signals_of
from ..networks import mlp
from ..randomness import seeded
from ..training import train
from .judging import exercise, number

_BEGIN = 47
_STRANGERS = {"one optimizer": SGD, "a second optimizer": Adam, "a third optimizer": RMSprop}


def run_with_a_fault() -> TrainingSignals:
    """The signals of 80 training steps, each recorded; from one of them on, something was changed by hand."""

    def lower(step: int, network: torch.nn.Module) -> None:
        if step == _BEGIN:
            with torch.no_grad():
                network.get_parameter("layer2.linear.bias").sub_(1.5)

    return signals_of(_records(lr=0.02, seed=0, steps=80, every=1, meddle=lower), ())


def _records(*, lr: float, seed: int, steps: int, every: int, meddle: Callable | None = None) -> list[dict]:
    data, generator = digits(), seeded(seed)
    network = mlp([64] + [32] * 6 + [10], torch.relu, initializer=he_normal_, seed=seed)
    optimizer = SGD(network.parameters(), lr=lr, momentum=0.9)
    with Monitor(network, optimizer=optimizer, every=every, tell=None) as monitor:
        for step in range(1, steps + 1):
            if meddle is not None:
                meddle(step, network)
            batch = torch.randint(len(data.inputs), (64,), generator=generator, device="cpu")
            optimizer.zero_grad()
            loss = F.cross_entropy(network(data.inputs[batch]), data.targets[batch])
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    return monitor.records


@exercise("12.1")
def _begin(answer) -> str | None:
    said = number(answer)
    if said == _BEGIN:
        return None
    when = "already there" if said > _BEGIN else "not there yet"
    return (
        f"in step {said:g} it was {when}. Which quantity of which layer jumps from one record to the next, and stays?"
    )


@exercise("12.2")
def _rate_from_ratios(answer: Callable[..., float]) -> str | None:
    if not callable(answer):
        return "expected a function of ratio_at."
    data = digits()

    def make(seed: int):
        return mlp([64] + [32] * 4 + [10], torch.relu, initializer=he_normal_, seed=seed)

    for name, optimizer in _STRANGERS.items():

        def run(lr: float, steps: int, movement: bool = False, optimizer=optimizer):
            settings = {"steps": steps, "seeds": range(2), "batch": 64, "progress": False, "movement": movement}
            return train(make, data, optimizer=partial(optimizer, lr=float(lr)), **settings)

        def ratio_at(lr: float, run=run) -> float:
            return float(run(lr, 10, movement=True).movement.ratio[:, ::2].nanmedian())

        lr = number(answer(ratio_at))
        if not 0 < lr < 1e3:
            return f"expected a positive learning rate, not {lr:g}."
        right = float(run(lr, 60).accuracy.median())
        if not right > 0.75:
            return (
                f"with {name} and your learning rate of {lr:.2g}, {right:.0%} of the test digits are right after 60 "
                f"steps. Its ratio is {ratio_at(lr):.1g}: is that too small for so few steps, or too large?"
            )
    return None


@cache
def _runs() -> tuple[tuple[str, bool, list[dict]], ...]:
    """Runs by what they are, whether they learn, and their records."""
    rates = {"never learns": 0.3, "learns fast": 0.03, "learns slowly": 0.003}
    return tuple(
        (name, lr < 0.1, _records(lr=lr, seed=seed, steps=81, every=4))
        for name, lr in rates.items()
        for seed in range(3)
    )


@exercise("12.3")
def _stopping_rule(answer) -> str | None:
    if not callable(answer):
        return "expected a function of TrainingSignals."
    for name, learns, records in _runs():
        stopped = next((each["step"] for k, each in enumerate(records, 1) if answer(signals_of(records[:k], ()))), None)
        if learns and stopped is not None:
            return f"it stops a run that {name}, at step {stopped}. Compare the layers of such a run with a lost one's."
        if not learns and (stopped is None or stopped > 60):
            when = "never" if stopped is None else f"only at step {stopped}"
            return f"it stops a run that {name} {when}. Which share of units is off there by step 20?"
    return None
