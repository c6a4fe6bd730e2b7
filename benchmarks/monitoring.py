"""What it costs to watch a training loop."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch

from benchmarks.networks import NETWORKS, loss, placed
from benchmarks.ratios import Row, ratio
from benchmarks.recording import SLOW, WAYS
from d2lstab import Monitor

LIMITS = {
    **{f"Monitor(every=1), {name}": most for name, most in zip(NETWORKS, (2.1, 1.3, 1.15))},
    "Monitor(every=100), 50-layer tanh MLP": 1.02,
}
BESIDE = ("forward hooks with .item()", 'wandb.watch(log="all")')
STEPS = 10  # in one measurement: a loop is watched from its beginning to its end
REPEATS = 30  # single ratios scatter by a tenth


def step(model, inputs, targets, optimizer: torch.optim.Optimizer, watched: Monitor | None) -> None:
    """One step of gradient descent."""
    optimizer.zero_grad()
    here = loss(model(inputs), targets)
    here.backward()
    optimizer.step()
    if watched is not None:
        watched.step(here)


def descent(model) -> torch.optim.Optimizer:
    """Gradient descent at a rate so small that all steps are alike."""
    return torch.optim.SGD(model.parameters(), lr=1e-6)


def loop(model, inputs, targets, *, steps: int = STEPS, every: int = 0, **settings) -> None:
    """Some steps, watched by a Monitor unless `every` is 0."""
    optimizer = descent(model)
    watched = Monitor(model, optimizer=optimizer, every=every, tell=None, **settings) if every else None
    with watched or nullcontext():
        for _ in range(steps):
            step(model, inputs, targets, optimizer, watched)


def logged(model, inputs, targets) -> None:
    """As `loop`, every record given to wandb's logger, which is offline."""
    import wandb

    loop(model, inputs, targets, every=1, log=lambda step, numbers: wandb.run.log(numbers))


def logger_alone(model, inputs, targets) -> None:
    """What wandb's logger costs itself, with as many numbers."""
    import wandb

    given: list[dict[str, float]] = []
    loop(model, inputs, targets, steps=1, every=1, log=lambda step, numbers: given.append(numbers))
    optimizer = descent(model)
    for _ in range(STEPS):
        step(model, inputs, targets, optimizer, None)
        wandb.run.log(given[0])


def histogram_hooks(model, inputs, targets) -> None:
    """What fastai's ActivationStats does: mean, deviation and a histogram of 40 bins of every layer's output."""
    found = []

    def look(module, arguments, output) -> None:
        h = output.detach().float()
        found.append((h.mean().item(), h.std().item(), torch.histc(h, 40, 0, 10).tolist()))

    handles = [each.register_forward_hook(look) for each in model.modules() if not list(each.children())]
    loop(model, inputs, targets)
    for handle in handles:
        handle.remove()


def then_step(way: Callable[..., None], model, inputs, targets) -> None:
    """Watched forward and backward passes, each with the optimizer's step."""
    for _ in range(STEPS):
        way(model, inputs, targets)
        descent(model).step()


def seldom(model, inputs, targets) -> Row:
    """What every=100 costs: a hundred steps of which one is recorded.

    Put together from that one, with all that begins and ends with it, and from those between, each measured by
    itself: over a hundred steps as a whole, both would be lost in what a machine does besides.
    """
    once = partial(loop, model, inputs, targets, steps=1)
    recorded = ratio(partial(once, every=100), once, 10 * REPEATS)
    optimizer = descent(model)
    here = partial(step, model, inputs, targets, optimizer)
    with Monitor(model, optimizer=optimizer, every=10**9, tell=None) as watched:
        between = ratio(partial(here, watched), partial(here, None), 50 * REPEATS)  # its round unmeasured is recorded
    median, least, most = ((one + 99 * other) / 100 for one, other in zip(recorded, between))
    return median, least, most


def last_layer(model) -> str:
    """The path of the last module, which all three networks answer with."""
    return [name for name, _ in model.named_modules()][-1]


def rows() -> dict[str, dict[str, Row | str]]:
    """Each network's training step, watched in several ways."""
    found: dict[str, Row | str] = {}
    for name, make in NETWORKS.items():
        given = placed(make)
        ways = {
            "Monitor(every=1)": partial(loop, every=1),
            "Monitor(every=1, histograms=True)": partial(loop, every=1, histograms=True),
            "Monitor(every=1, layers=the last)": partial(loop, every=1, layers=last_layer(given[0])),
            "Monitor(every=1, log=wandb.log)": logged,
            "wandb.log of as many numbers, alone": logger_alone,
            "hooks with histograms, as fastai's": histogram_hooks,
            **{way: partial(then_step, WAYS[way]) for way in BESIDE},
        }
        for way, watched in ways.items():
            repeats = REPEATS if way == "Monitor(every=1)" else 3 if way in SLOW else 7
            try:
                found[f"{way}, {name}"] = ratio(partial(watched, *given), partial(loop, *given), repeats)
            except Exception as error:  # noqa: BLE001  what a peer raises is its own
                found[f"{way}, {name}"] = f"fails: {type(error).__name__}"
    found["Monitor(every=100), 50-layer tanh MLP"] = seldom(*placed(NETWORKS["50-layer tanh MLP"]))
    return {"over a plain training loop": found}
