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
    "Monitor(every=100), 50-layer tanh MLP, 100 steps": 1.02,
}
BESIDE = ("forward hooks with .item()", 'wandb.watch(log="all")')
STEPS = 20  # in one measurement: a loop is watched from its beginning to its end


def loop(model, inputs, targets, *, steps: int = STEPS, every: int = 0, histograms: bool = False) -> None:
    """Some steps of gradient descent, watched by a Monitor unless `every` is 0; their rate is so small that all are alike."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    watched = Monitor(model, optimizer=optimizer, every=every, histograms=histograms, tell=None) if every else None
    with watched or nullcontext():
        for _ in range(steps):
            optimizer.zero_grad()
            here = loss(model(inputs), targets)
            here.backward()
            optimizer.step()
            if watched is not None:
                watched.step(here)


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
        torch.optim.SGD(model.parameters(), lr=1e-6).step()


def rows() -> dict[str, dict[str, Row | str]]:
    """Each network's training step, watched in several ways."""
    found: dict[str, Row | str] = {}
    for name, make in NETWORKS.items():
        given = placed(make)
        ways = {
            "Monitor(every=1)": partial(loop, every=1),
            "Monitor(every=1, histograms=True)": partial(loop, every=1, histograms=True),
            "hooks with histograms, as fastai's": histogram_hooks,
            **{way: partial(then_step, WAYS[way]) for way in BESIDE},
        }
        for way, step in ways.items():
            try:
                found[f"{way}, {name}"] = ratio(partial(step, *given), partial(loop, *given), 3 if way in SLOW else 7)
            except Exception as error:  # noqa: BLE001  what a peer raises is its own
                found[f"{way}, {name}"] = f"fails: {type(error).__name__}"
    given = placed(NETWORKS["50-layer tanh MLP"])
    hundred = partial(loop, *given, steps=100)
    found["Monitor(every=100), 50-layer tanh MLP, 100 steps"] = ratio(partial(hundred, every=100), hundred, 7)
    return {"over a plain training loop": found}
