"""Inputs and targets to learn from."""

from dataclasses import dataclass, fields
from math import isqrt

import torch
from torch import Tensor

from ..arguments import available_device, floating_dtype, whole_numbers
from ..plotting import COLOURS, Axes, new_axes
from ..results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Result):
    """Inputs and targets to learn from, and others to be tested on.

    Raises TypeError for a field that is no tensor, ValueError for one that is a single number, and where inputs and
    targets are not of as many examples.

    >>> x, y = torch.zeros(30, 2), torch.arange(30) % 3
    >>> Dataset(x[:20], y[:20], x[20:], y[20:])
    Dataset(inputs: 20×2 float32, targets: 20 int64, test_inputs: 10×2 float32, test_targets: 10 int64)
    """

    inputs: Tensor  # (examples, ...)
    targets: Tensor  # (examples,), class numbers; floating where there are no classes
    test_inputs: Tensor  # (tests, ...)
    test_targets: Tensor  # (tests,)

    def __post_init__(self) -> None:
        for field in fields(self):
            if not isinstance(getattr(self, field.name), Tensor):
                given = type(getattr(self, field.name)).__name__
                raise TypeError(f"{field.name} of type {given}\nexpected a tensor, such as torch.tensor({field.name})")
            if not getattr(self, field.name).dim():
                raise ValueError(f"{field.name} is a single number\nexpected (examples, ...)")
        for name in ("inputs", "test_inputs"):
            targets = name.replace("inputs", "targets")
            examples, answers = len(getattr(self, name)), len(getattr(self, targets))
            if examples != answers:
                raise ValueError(f"{name} of {examples} examples, {targets} of {answers}\nexpected one target for each")

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Dataset":
        """The same data on another device, its floating tensors in another dtype; None leaves either as it is.

        Raises ValueError for a device that is not there or a dtype that is not floating.
        """
        device = None if device is None else available_device(device)
        dtype = None if dtype is None else floating_dtype(dtype)
        tensors = [getattr(self, field.name) for field in fields(self)]
        return type(self)(*(t.to(device, dtype if t.is_floating_point() else None) for t in tensors))

    def shaped(self, *shape: int) -> "Dataset":
        """The same data, each input in another shape: (64, 1) reads a digit pixel by pixel, (1, 8, 8) is a picture.

        Raises ValueError if an input has not so many numbers.
        """
        try:
            inputs, test_inputs = (each.reshape(len(each), *shape) for each in (self.inputs, self.test_inputs))
        except RuntimeError as error:
            raise ValueError(
                f"shape={shape} for inputs of shape {tuple(self.inputs.shape[1:])}\nexpected a shape of as many numbers"
            ) from error
        return type(self)(inputs, self.targets, test_inputs, self.test_targets)

    def plot(self, ax: Axes | None = None, *, rows: int = 2, columns: int = 16) -> Axes:
        """Axes with the first rows × columns inputs as square pictures, row by row, each with its target in a corner.

        Raises ValueError if an input is not a square picture.
        """
        rows, columns = whole_numbers(rows=rows, columns=columns)
        pictures = self.inputs[: rows * columns].detach().cpu().double().flatten(1)
        side = isqrt(pictures.shape[1])
        if side**2 != pictures.shape[1]:
            raise ValueError(
                f"inputs of shape {tuple(self.inputs.shape)}\nexpected square pictures, such as (examples, 64)"
            )
        cell = side + 2  # a picture and the gap to its neighbours
        sheet = torch.full((rows * cell, columns * cell), torch.nan, dtype=torch.float64, device="cpu")
        ax = new_axes(ax, figsize=(0.5 * columns, 0.5 * rows))
        for index, (picture, target) in enumerate(zip(pictures, self.targets.tolist())):
            top, left = index // columns * cell, index % columns * cell
            sheet[top : top + side, left : left + side] = picture.reshape(side, side)
            ax.text(left - 1, top - 1, f"{target:g}", color=COLOURS[1], fontsize=8, ha="center", va="center")
        ax.imshow(sheet.numpy(), cmap="gray_r")
        ax.set_axis_off()
        return ax
