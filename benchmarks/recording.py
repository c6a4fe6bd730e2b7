"""What it costs to watch a network, and to diagnose one: multiples of a plain forward and backward pass.

Beside `record`: the hooks that a reader would write, and what torchlens and wandb.watch do in the same step, where
they are installed (the dependency group `bench`).
"""

import ctypes
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.networks import NETWORKS, loss, placed, plain_step, resnet50
from benchmarks.ratios import Row, middle, ratio
from d2lstab import diagnose, record

REPEATS = 15
LIMITS = {
    **{f"record, {name}": most for name, most in zip(NETWORKS, (1.4, 1.15, 1.15))},
    **{f"record(full=True), {name}": most for name, most in zip(NETWORKS, (2.1, 1.3, 1.15))},
    **{f"{way}, peak memory, {name}": 1.15 for way in ("record", "record(full=True)") for name in NETWORKS},
    "diagnose with an optimizer, ResNet-50": 20,
    "diagnose with an optimizer, peak memory, ResNet-50": 2,
}


def recorded_step(model: nn.Module, inputs, targets, *, full: bool = False) -> None:
    with record(model, full=full) as signals:
        plain_step(model, inputs, targets)
    signals.rows  # noqa: B018  reading them is part of the cost


def diagnosed_step(model: nn.Module, inputs, targets) -> None:
    diagnose(model, inputs, targets, loss, optimizer=torch.optim.SGD(model.parameters(), lr=0.01))


def hooked_step(model: nn.Module, inputs, targets) -> None:
    """What a reader would write: the mean and standard deviation of each layer, and each gradient's norm."""
    found = []

    def look(module, arguments, output) -> None:
        found.append((output.mean().item(), output.std().item()))

    handles = [each.register_forward_hook(look) for each in model.modules() if not list(each.children())]
    plain_step(model, inputs, targets)
    found.extend(each.grad.norm().item() for each in model.parameters() if each.grad is not None)
    for handle in handles:
        handle.remove()


def traced_step(model: nn.Module, inputs, targets) -> None:
    """torchlens: a trace of all operations has a forward pass of its own, so the step comes after it."""
    import torchlens
    from torchlens.options import CaptureOptions

    # Otherwise torch's functions stay wrapped, and the plain steps would be slower as well.
    torchlens.trace(model, inputs, capture=CaptureOptions(unwrap_when_done=True))
    plain_step(model, inputs, targets)


def logged_step(model: nn.Module, inputs, targets) -> None:
    """wandb: histograms of all parameters and gradients, into a file in a folder that is thrown away."""
    import wandb

    wandb.run.watch(model, log="all", log_freq=1)
    plain_step(model, inputs, targets)
    wandb.run.log({})
    wandb.run.unwatch(model)


WAYS = {
    "record": recorded_step,
    "record(full=True)": partial(recorded_step, full=True),
    "forward hooks with .item()": hooked_step,
    "torchlens.trace": traced_step,
    'wandb.watch(log="all")': logged_step,
}
SLOW = ("torchlens.trace", 'wandb.watch(log="all")')


def recording_rows() -> dict[str, Row | str]:
    """Each network's step, watched in several ways, over the plain one; what a way raised where it does not run."""
    rows = {}
    for name, make in NETWORKS.items():
        given = placed(make)
        for way, step in WAYS.items():
            work, plain = partial(step, *given), partial(plain_step, *given)
            try:
                rows[f"{way}, {name}"] = ratio(work, plain, 5 if way in SLOW else REPEATS)
            except Exception as error:  # noqa: BLE001  what a peer raises is its own
                rows[f"{way}, {name}"] = f"fails: {type(error).__name__}"
    return rows


def memory_rows() -> dict[str, Row]:
    """The peak memory of each network's step when it is recorded, over that of the plain one."""
    rows = {}
    for name in NETWORKS:
        plain = [peak_memory("plain", name) for _ in range(5)]
        for way in ("record", "record(full=True)"):
            rows[f"{way}, peak memory, {name}"] = middle([peak_memory(way, name) / each for each in plain])
    return rows


def diagnosis_rows() -> dict[str, Row]:
    """A whole diagnosis of ResNet-50 in plain steps, and its peak memory over that of one."""
    given = placed(resnet50)
    times = ratio(partial(diagnosed_step, *given), partial(plain_step, *given), 3)
    memory = peak_memory("diagnose", "ResNet-50") / peak_memory("plain", "ResNet-50")
    return {
        "diagnose with an optimizer, ResNet-50": times,
        "diagnose with an optimizer, peak memory, ResNet-50": (memory, memory, memory),
    }


def peak_memory(way: str, network: str) -> float:
    """The peak memory in MB of doing this once more on the CPU, in a fresh process, with the parameters."""
    command = [sys.executable, "-m", "benchmarks.recording", way, network]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def resident(kind: str) -> float:
    """The memory of this process in MB, as Linux counts it: VmRSS, or the most there was, VmHWM."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind)]
    return int(line.split()[1]) / 2**10


def measure(way: str, network: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step, make = (
        {**WAYS, "plain": plain_step, "diagnose": diagnosed_step}[way],
        {**NETWORKS, "ResNet-50": resnet50}[network],
    )
    step(*make())  # loads the code that it needs
    model, inputs, targets = make()
    parameters = sum(each.numel() * each.element_size() for each in model.parameters()) / 2**20
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the most there was
    before = resident("VmRSS")
    step(model, inputs, targets)
    print(resident("VmHWM") - before + parameters)


@contextmanager
def peers() -> Iterator[None]:
    """A context in which wandb, where it is installed, has a run without a network, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        kept = ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")
        os.environ |= dict.fromkeys(kept, folder) | {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
        try:
            import wandb
        except ImportError:
            yield
            return
        settings = wandb.Settings(x_disable_stats=True, disable_git=True, disable_code=True, console="off")
        with wandb.init(mode="offline", dir=folder, project="benchmark", settings=settings):
            yield


def rows() -> dict[str, dict[str, Row | str]]:
    """Everything that is measured here, by what it is measured against."""
    return {
        "over a plain forward and backward pass": {**recording_rows(), **diagnosis_rows()},
        "over the peak memory of a plain forward and backward pass (on the CPU)": memory_rows(),
    }


if __name__ == "__main__":
    measure(*sys.argv[1:])
