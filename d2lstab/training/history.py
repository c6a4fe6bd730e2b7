"""What happened while some seeds were trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plotting import Axes, line_with_band, new_axes
from ..results import Result
from .movement import Movement


@dataclass(frozen=True, eq=False, repr=False)
class History(Result):
    """What happened while some seeds were trained.

    >>> from functools import partial
    >>> def network(seed):
    ...     return mlp([64, 32, 10], torch.relu, initializer=he_normal_, seed=seed)
    >>> history = train(network, digits(), optimizer=partial(torch.optim.SGD, lr=0.1), steps=20, seeds=range(3))
    >>> history.loss.shape, len(history.models), bool(history.diverged.any())  # seeds, steps
    (torch.Size([3, 20]), 3, False)
    """

    loss: Tensor  # (seeds, steps), of each step's batch before the step; NaN after a seed has diverged
    gradient_norm: Tensor  # (seeds, steps), over all parameters, before clipping
    accuracy: Tensor  # (seeds,), share of the test examples named right at the end; NaN where there are no classes
    diverged: Tensor  # (seeds,), True where the loss became infinite or NaN
    together: bool  # whether the seeds were one stack, or trained one after the other
    interrupted: bool = False  # whether the run was stopped by hand; the steps done until then are here
    movement: Movement | None = None  # how far each parameter moved, if train was asked to watch
    models: tuple[nn.Module, ...] = ()  # as make_model returned them, now trained; one per seed

    def _rows(self) -> list[tuple[str, str]]:
        lost, seeds = int(self.diverged.sum()), len(self.diverged)
        rows = dict(super()._rows())
        rows["diverged"] = f"{'all' if lost == seeds else lost or 'none'} of {seeds} seeds"
        rows["models"] = f"{len(self.models)} × {type(self.models[0]).__name__}" if self.models else "none"
        return list(rows.items())

    def plot(self, ax: Axes | None = None, *, label: str | None = None, **style: Any) -> Axes:
        """Axes with the loss against the step: median and 10–90 % band over the seeds that did not diverge."""
        ax = new_axes(ax)
        ax.set(xlabel="step", ylabel="training loss", yscale="log")
        lost = int(self.diverged.sum())
        if label is not None and lost:
            label = f"{label} ({lost} of {len(self.diverged)} seeds diverged)"
        kept = self.loss[~self.diverged] if lost < len(self.diverged) else self.loss
        if label is not None:
            style["label"] = label
        return line_with_band(ax, torch.arange(1, self.loss.shape[1] + 1, device="cpu"), kept, **style)


def joined(runs: Sequence[History], seeds: int, models: Sequence[nn.Module]) -> History:
    """The histories of several runs as one; seeds that an interrupted run never reached are NaN."""
    missing = seeds - sum(len(run.accuracy) for run in runs)
    watched = [run.movement for run in runs if run.movement is not None]
    movement = None
    if watched:
        parts = [[getattr(each, name) for each in watched] for name in ("gradient", "update", "weight")]
        movement = Movement(watched[0].names, *(_stacked(part, seeds) for part in parts))
    return History(
        loss=_stacked([run.loss for run in runs], seeds),
        gradient_norm=_stacked([run.gradient_norm for run in runs], seeds),
        accuracy=F.pad(torch.cat([run.accuracy for run in runs]), (0, missing), value=torch.nan),
        diverged=F.pad(torch.cat([run.diverged for run in runs]), (0, missing), value=False),
        together=all(run.together for run in runs),
        interrupted=runs[-1].interrupted,
        movement=movement,
        models=tuple(models),
    )


def _stacked(parts: Sequence[Tensor], seeds: int) -> Tensor:
    """Parts (some seeds, ..., some steps) as one (seeds, ..., steps), NaN where there is nothing."""
    longest = max(part.shape[-1] for part in parts)
    padded = [F.pad(part, (0, longest - part.shape[-1]), value=torch.nan) for part in parts]
    rows = torch.cat(padded)
    return torch.cat([rows, rows.new_full((seeds - len(rows), *rows.shape[1:]), torch.nan)])
