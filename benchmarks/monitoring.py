"""What it costs to watch a training loop: multiples of the same loop without anything.

python -m benchmarks.monitoring
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch

from benchmarks.recording import NETWORKS, Row, hooked_step, loss, ratio
from d2lstab import Monitor


def loop(model, inputs, targets, *, steps: int, monitor: Monitor | None = None) -> None:
    """Some training steps, with a learning rate so small that all are alike."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9) if monitor is None else monitor.optimizer
    with monitor if monitor is not None else nullcontext():
        for _ in range(steps):
            optimizer.zero_grad()
            here = loss(model(inputs), targets)
            here.backward()
            optimizer.step()
            if monitor is not None:
                monitor.step(here)


def monitored(given: tuple, *, steps: int, every: int, **settings) -> Callable[[], None]:
    def work() -> None:
        optimizer = torch.optim.SGD(given[0].parameters(), lr=1e-9)
        loop(*given, steps=steps, monitor=Monitor(given[0], optimizer=optimizer, every=every, tell=None, **settings))

    return work


def rows() -> dict[str, Row]:
    """Each network's training loop, watched in several ways, over the plain one."""
    found = {}
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        given = make()

        def plain(given=given) -> None:
            loop(*given, steps=1)

        found[f"Monitor(every=1), {name}"] = ratio(monitored(given, steps=1, every=1), plain)
        found[f"Monitor(every=1, histograms), {name}"] = ratio(
            monitored(given, steps=1, every=1, histograms=True), plain
        )
        found[f"forward hooks with .item(), {name}"] = ratio(lambda given=given: hooked_step(*given), plain)
    given = NETWORKS["50-layer tanh MLP"]()
    hundred = ratio(monitored(given, steps=100, every=100), lambda: loop(*given, steps=100), 7)
    return {"Monitor(every=100), 50-layer tanh MLP, 100 steps": hundred, **found}


def main() -> None:
    torch.set_num_threads(1)
    for name, (middle, least, most) in rows().items():
        print(f"{name:52} {middle:6.2f} ({least:.2f}–{most:.2f})")


if __name__ == "__main__":
    main()
