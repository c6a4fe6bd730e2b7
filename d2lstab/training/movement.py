"""How far each parameter moves, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..plotting import Axes, line_with_band, new_axes, theory_line
from ..results import Result
from .clipping import norm_of_each
from .stack import Alone


@dataclass(frozen=True, eq=False, repr=False)
class Movement(Result):
    """How far each parameter moved, step by step: Euclidean norms over the parameter's entries.

    >>> from functools import partial
    >>> def network(seed):
    ...     return mlp([64, 10], torch.relu, initializer=he_normal_, seed=seed)
    >>> adam = partial(torch.optim.Adam, lr=0.01)
    >>> moved = train(network, digits(), optimizer=adam, steps=5, seeds=range(3), movement=True).movement
    >>> moved.names, moved.ratio.shape  # seeds, parameters, steps
    (('output.weight', 'output.bias'), torch.Size([3, 2, 5]))
    """

    names: tuple[str, ...]  # of the parameters
    gradient: Tensor  # (seeds, parameters, steps), before clipping
    update: Tensor  # (seeds, parameters, steps), of what the optimizer added
    weight: Tensor  # (seeds, parameters, steps), before the step

    @property
    def ratio(self) -> Tensor:
        """Update over weight, (seeds, parameters, steps); NaN where a weight is all zeros."""
        return torch.where(self.weight > 0, self.update / self.weight, torch.nan)

    def plot(self, ax: Axes | None = None, *, label: str | None = None, **style: Any) -> Axes:
        """Axes with the update-to-weight ratio against the step: median and 10–90 % band over the weights.

        Each weight counts with its median over the seeds; biases and others that start at 0 are left out.
        Source of the line at 10⁻³, a rule of thumb: Karpathy 2022, makemore, part 3.
        """
        ax = new_axes(ax)
        steps = torch.arange(1, self.update.shape[-1] + 1, device="cpu")
        started = self.weight[..., 0].nan_to_num().gt(0).any(0)
        if label is not None:
            style["label"] = label
        line_with_band(ax, steps, self.ratio.nanmedian(0).values[started], **style)
        theory_line(ax, steps, torch.full(steps.shape, 1e-3, dtype=torch.float64, device="cpu"))
        ax.set(xlabel="step", ylabel="update / weight", yscale="log")  # now that something is positive
        return ax


class Watch:
    """Records one stack's movement, step by step."""

    def __init__(self, network: Alone, steps: int):
        self._network = network
        self._names = tuple(network.trained)
        self._seeds, self._device = len(network.models), next(iter(network.trained.values())).device
        self._record = torch.full(
            (3, self._seeds, len(self._names), steps), torch.nan, dtype=torch.float64, device=self._device
        )

    def before_step(self, step: int) -> None:
        parameters = list(self._network.trained.values())
        # A parameter that the loss does not reach has no gradient, and no row in it.
        gradients = [torch.full_like(p, torch.nan) if p.grad is None else p.grad for p in parameters]
        self._before = [p.detach().clone() for p in parameters]
        self._record[0, :, :, step] = self._norms(gradients)
        self._record[2, :, :, step] = self._norms(self._before)

    def after_step(self, step: int, alive: Tensor) -> None:
        moved = [p.detach() - before for p, before in zip(self._network.trained.values(), self._before)]
        self._record[1, :, :, step] = self._norms(moved).masked_fill(~alive[:, None], torch.nan)

    def movement(self, steps: int) -> Movement:
        record = self._record[..., :steps]  # a seed that has diverged makes no step, so its gradient leads nowhere
        return Movement(self._names, *record.masked_fill(record[1].isnan(), torch.nan).cpu())

    def _norms(self, tensors: Sequence[Tensor]) -> Tensor:
        return norm_of_each(self._network.seed_first(tensors)).mT
