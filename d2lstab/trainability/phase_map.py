"""Which networks can be trained: a plane of weight and bias scales, a network at each point of it."""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..activations import Activation
from ..arguments import available_device, seed_list, whole_numbers
from ..datasets import Dataset
from ..initializers import lecun_normal_, normal_
from ..networks import mlp
from ..plotting import Axes, line_with_band, new_axes
from ..processes import progress_bar, shared
from ..randomness import seeded
from ..results import Result
from ..signatures import checked
from ..training import train

_STACK = 16  # networks that train together: not more with fewer processes, for a network's rounding hangs on its stack


@dataclass(frozen=True, eq=False, repr=False)
class TrainabilityMap(Result):
    """What networks learned whose weights and biases were drawn with the scales of a plane.

    >>> from functools import partial
    >>> settings = {"depth": 3, "steps": 5, "optimizer": partial(torch.optim.Adam, lr=0.002), "progress": False}
    >>> scales = {"sigma_w": [0.5, 1.0, 2.0], "sigma_b": [0.1]}
    >>> found = trainability_map(torch.tanh, digits(), **scales, seeds=[0, 1], **settings)
    >>> found.accuracy.shape, bool(found.diverged.any())  # seeds, sigma_b, sigma_w
    (torch.Size([2, 1, 3]), False)
    """

    sigma_w: Tensor  # (columns,)
    sigma_b: Tensor  # (rows,)
    depth: int  # hidden layers
    accuracy: Tensor  # (seeds, rows, columns), share of the test examples named right
    diverged: Tensor  # (seeds, rows, columns), True where the loss became infinite or NaN
    interrupted: bool = False  # whether the run was stopped by hand; points that it did not reach have accuracy NaN

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Axes with the accuracy, median over seeds, as colours; of a single row or column as a line with its band."""
        ax, label = new_axes(ax), f"test accuracy, {self.depth} layers"
        rows, columns = self.accuracy.shape[1:]
        if rows == 1 or columns == 1:
            x, name = (self.sigma_w, "σ_w") if rows == 1 else (self.sigma_b, "σ_b")
            ax.set(xlabel=name, ylabel=label)
            return line_with_band(ax, x, self.accuracy.flatten(1), **style)
        values = self.accuracy.median(0).values.numpy()
        style = {"vmin": 0, "vmax": 1, "shading": "nearest"} | style
        mesh = ax.pcolormesh(self.sigma_w.numpy(), self.sigma_b.numpy(), values, **style)
        ax.figure.colorbar(mesh, ax=ax, label=label)
        ax.grid(False)
        ax.set(xlabel="σ_w", ylabel="σ_b")
        return ax


@checked
def trainability_map(
    activation: Activation,
    data: Dataset,
    *,
    sigma_w: Tensor | Sequence[float],
    sigma_b: Tensor | Sequence[float],
    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer],
    depth: int = 24,
    width: int = 48,
    steps: int = 100,
    batch: int = 32,
    seeds: Iterable[int] = range(8),
    device: torch.device | str | None = None,
    progress: bool = True,
) -> TrainabilityMap:
    """What a plain network learns in so many steps, for each pair of scales: the experiment beside `phase_diagram`.

    sigma_w: (columns,), sigma_b: (rows,), each from 0 up: weights are drawn from N(0, σ_w²/fan_in), biases from
    N(0, σ_b²). depth: hidden layers, each of `width` units. optimizer, steps, batch: as for `train`. data: inputs
    (examples, features), targets that are classes. Each point and seed has weights and batches of its own, the same
    on every grid that holds it; the points are shared out in a `process_group`. Ctrl-C or the notebook's stop
    button ends the run early and returns the points done.
    Raises ValueError for scales that are no line from 0 up, data of another form, sizes below 1, and what `train`
    raises.
    Source: Schoenholz et al. 2017, arXiv:1611.01232.

    >>> from functools import partial
    >>> scales = {"sigma_w": [0.5, 1.0, 1.5, 2.0], "sigma_b": [0.05, 0.3]}
    >>> adam = partial(torch.optim.Adam, lr=0.002)
    >>> found = trainability_map(torch.tanh, digits(), **scales, depth=5, steps=20, optimizer=adam, seeds=[0], progress=False)
    >>> found.accuracy.shape  # seeds, sigma_b, sigma_w
    torch.Size([1, 2, 4])
    >>> ax = found.plot()
    """
    depth, width = whole_numbers(depth=depth, width=width)
    seeds, device = seed_list(seeds), available_device(device)
    sigma_w, sigma_b = _line("sigma_w", sigma_w), _line("sigma_b", sigma_b)
    widths = [_features(data)] + [width] * depth + [int(max(data.targets.max(), data.test_targets.max())) + 1]
    points = {
        _number(seed, float(w), float(b)): (float(w), float(b)) for seed in seeds for b in sigma_b for w in sigma_w
    }
    data = data.to(device)

    def network(number: int) -> nn.Module:
        weight_scale, bias_scale = points[number]
        model = mlp(widths, activation, initializer=partial(lecun_normal_, gain=weight_scale), seed=number)
        return _biased_(model, bias_scale, number)

    def learnt(stacks: list[list[int]]):
        for stack in progress_bar(stacks, of="points", shown=progress):
            run = train(
                network, data, optimizer=optimizer, steps=steps, seeds=stack, batch=batch, device=device, progress=False
            )
            if run.interrupted:  # half a stack would pass for a whole one
                raise KeyboardInterrupt
            yield torch.stack([run.accuracy.double(), run.diverged.double()])

    stacks = torch.tensor(list(points), device="cpu").tensor_split(-(-len(points) // _STACK))
    found = torch.cat(shared(learnt, [stack.tolist() for stack in stacks]), dim=1)
    missing = len(points) - found.shape[1]
    accuracy, diverged = F.pad(found, (0, missing), value=torch.nan).reshape(2, -1, len(sigma_b), len(sigma_w))
    return TrainabilityMap(sigma_w, sigma_b, depth, accuracy, diverged.nan_to_num() > 0, missing > 0)


def _number(seed: int, sigma_w: float, sigma_b: float) -> int:
    """The number of the stream that a network is drawn from: its own, whatever other points there are."""
    return int.from_bytes(blake2b(struct.pack("<Qdd", seed, sigma_w, sigma_b), digest_size=6).digest(), "little")


def _line(name: str, scales) -> Tensor:
    """Scales as (points,), float64. Raises ValueError for anything else."""
    scales = torch.as_tensor(scales, dtype=torch.float64, device="cpu").detach()
    if scales.dim() != 1 or not len(scales) or not ((scales >= 0) & scales.isfinite()).all():
        raise ValueError(f"{name}={scales.tolist()}\nexpected a line of scales from 0 up")
    return scales


def _features(data: Dataset) -> int:
    """The length of an input. Raises ValueError if the inputs are no vectors, or the targets no classes."""
    if data.inputs.dim() != 2 or data.targets.is_floating_point():
        raise ValueError(
            f"inputs of shape {tuple(data.inputs.shape)}, targets of {data.targets.dtype}\n"
            "expected inputs (examples, features) and class numbers"
        )
    return data.inputs.shape[1]


def _biased_(model: nn.Module, scale: float, number: int) -> nn.Module:
    generator = seeded(1000 + number)  # not the stream that drew its weights
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            normal_(parameter, std=scale, generator=generator)
    return model
