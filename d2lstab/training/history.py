"""What happened while some seeds were trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..plotting import Axes, line_with_band, new_axes
from ..results import Result


@dataclass(frozen=True, eq=False, repr=False)
class History(Result):
    """What happened while some seeds were trained."""

    loss: Tensor  # (seeds, steps), of each step's batch before the step; NaN after a seed has diverged
    gradient_norm: Tensor  # (seeds, steps), over all parameters, before clipping
    accuracy: Tensor  # (seeds,), share of the test examples named right at the end; NaN where there are no classes
    diverged: Tensor  # (seeds,), True where the loss became infinite or NaN
    together: bool  # whether the seeds were one stack, or trained one after the other
    interrupted: bool = False  # whether the run was stopped by hand; the steps done until then are here

    def plot(self, ax: Axes | None = None, *, label: str | None = None, **style) -> Axes:
        """Axes with the loss against the step: median and 10–90 % band over the seeds that did not diverge."""
        ax = new_axes(ax)
        ax.set(xlabel="step", ylabel="training loss", yscale="log")
        lost = int(self.diverged.sum())
        if label is not None and lost:
            label = f"{label} ({lost} of {len(self.diverged)} seeds diverged)"
        kept = self.loss[~self.diverged] if lost < len(self.diverged) else self.loss
        style = style if label is None else style | {"label": label}
        return line_with_band(ax, torch.arange(1, self.loss.shape[1] + 1), kept, **style)


def joined(runs: Sequence[History], seeds: int, together: bool) -> History:
    """The histories of several runs as one; seeds that an interrupted run never reached are NaN."""

    def rows(name: str) -> Tensor:
        found = [getattr(run, name) for run in runs]
        longest = max(part.shape[-1] for part in found)
        joined = torch.full((seeds, longest), torch.nan, dtype=torch.float64)
        start = 0
        for part in found:
            joined[start : start + len(part), : part.shape[-1]] = part
            start += len(part)
        return joined

    one_each = {name: torch.cat([getattr(run, name) for run in runs]) for name in ("accuracy", "diverged")}
    missing = seeds - len(one_each["accuracy"])
    accuracy = F.pad(one_each["accuracy"], (0, missing), value=torch.nan)
    diverged = F.pad(one_each["diverged"], (0, missing), value=False)
    return History(rows("loss"), rows("gradient_norm"), accuracy, diverged, together, runs[-1].interrupted)
