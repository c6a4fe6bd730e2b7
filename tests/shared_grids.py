"""What two processes compute together, saved by each, until one of them dies: run by test_processes under torchrun.

python -m torch.distributed.run --standalone --nproc-per-node 2 tests/shared_grids.py FOLDER
"""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from d2lstab import (
    Dataset,
    depth_sweep,
    he_normal_,
    mlp,
    network_sweep,
    process_group,
    remedy_matrix,
    seeded,
    trainability_map,
)
from d2lstab.processes import bar_hidden
from d2lstab.randomness import normal
from d2lstab.remedies import Patient
from d2lstab.training import clip_by_global_norm_
from tests.jitter import from_environment

INPUTS = normal(40, 64, generator=seeded(0))
LITTLE = Dataset(INPUTS, torch.arange(40) % 10, INPUTS, torch.arange(40) % 10)
PLANE = {"sigma_w": torch.linspace(1, 4, 7), "sigma_b": torch.linspace(0, 1, 3)}
RELU = Patient(torch.relu, he_normal_, depth=4, width=7)
TANH = Patient(torch.tanh, he_normal_, depth=4, width=7)
LINEAR = Patient(nn.Identity(), he_normal_, depth=4, width=7)
CLIPPED = replace(RELU, clip=partial(clip_by_global_norm_, limit=0.1))


class Unreadable(Exception):
    """One that cannot be made again from what it keeps."""

    def __init__(self, first, second):
        super().__init__(first)


def network(seed: int) -> nn.Sequential:
    return mlp([64, 7, 7, 10], torch.tanh, initializer=he_normal_, seed=seed)


def fails_for_seed(which: int, error: Exception, seed: int) -> nn.Sequential:
    if seed == which:
        raise error
    return network(seed)


def with_a_grid_of_its_own(seed: int) -> nn.Sequential:
    gain = float(depth_sweep(he_normal_, torch.relu, depth=2, width=8, seeds=[seed, seed + 1]).forward.exp().mean())
    return mlp([64, 7, 10], torch.tanh, initializer=partial(he_normal_, gain=gain), seed=seed)


def grids() -> dict:
    """Every experiment that is shared out, small."""
    remedies = {"nothing": lambda patient: patient, "clipping": lambda _: CLIPPED, "again": lambda patient: patient}
    return {
        "depth sweep": depth_sweep(he_normal_, torch.tanh, depth=6, width=48, seeds=range(5)),
        "depth sweep of odd sizes": depth_sweep(he_normal_, torch.tanh, depth=6, width=7, batch=5, seeds=range(5)),
        "depth sweep of one seed": depth_sweep(he_normal_, torch.relu, depth=3, width=8, seeds=[3]),
        "network sweep": network_sweep(network, inputs=INPUTS, seeds=(4, 0, 9)),
        "network sweep with a grid inside": network_sweep(with_a_grid_of_its_own, inputs=INPUTS, seeds=range(3)),
        "remedy matrix": remedy_matrix(
            LITTLE, patients={"ReLU": RELU, "tanh": TANH, "linear": LINEAR}, remedies=remedies, steps=4, seeds=range(3), batch=10,
        ),
        # So chaotic that the rounding of another stack would change half of the accuracies.
        "trainability map": trainability_map(
            torch.tanh, LITTLE, **PLANE, depth=10, width=7, steps=60, batch=10, seeds=range(2),
            optimizer=partial(torch.optim.Adam, lr=0.03),
        ),
    }  # fmt: skip


def raised(call) -> tuple[str, str, str]:
    """The type, text and cause of what a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  each is looked at
        return type(error).__name__, str(error), str(error.__cause__)
    raise AssertionError("nothing was raised")


def main(folder: Path) -> None:
    drawn = []

    def counted(seed: int) -> nn.Sequential:
        drawn.append(seed)
        return network(seed)

    def sweep(make_model, seeds=range(4)):
        return network_sweep(make_model, inputs=INPUTS, seeds=seeds)

    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    with process_group() as own_rank:
        found = {"rank in a group that was there": own_rank, "sweep in a group that was there": sweep(network)}
    found["it stayed"] = dist.is_initialized()
    dist.destroy_process_group()

    with process_group() as rank:
        found |= {"grids": grids(), "rank": rank, "bar hidden": bar_hidden(True)}
        found["error"] = raised(lambda: sweep(partial(fails_for_seed, 3, KeyError("seed 3 has no network"))))
        found["unreadable error"] = raised(lambda: sweep(partial(fails_for_seed, 2, Unreadable("no", 2))))
        found["different calls"] = raised(lambda: sweep(network, range(3 + rank)))
        with process_group() as inner:
            sweep(counted)
        sweep(counted, range(10, 12))
    with process_group():
        sweep(counted, range(20, 23))
    sweep(counted, [30])
    torch.save(found | {"inner rank": inner, "drawn": drawn}, folder / f"{rank}.pt")
    with process_group():
        if rank == 1:
            raise ValueError("rank 1 has had enough")
        sweep(network)  # waits for rank 1


if __name__ == "__main__":
    from_environment()
    main(Path(sys.argv[1]))
