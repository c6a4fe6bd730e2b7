"""Real data that needs no download."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .arguments import available_device, floating_dtype
from .plotting import Axes, new_axes
from .randomness import seeded
from .results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Result):
    """Inputs and targets to learn from, and others to be tested on."""

    inputs: Tensor  # (examples, features)
    targets: Tensor  # (examples,), class numbers
    test_inputs: Tensor
    test_targets: Tensor

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Dataset":
        """The same data on another device, its inputs in another dtype."""
        device = available_device(device)
        tensors = [getattr(self, field.name) for field in fields(self)]
        return type(self)(*(t.to(device, dtype) if t.is_floating_point() else t.to(device) for t in tensors))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Axes with the first 32 inputs, drawn as square pictures with their targets written above."""
        ax = new_axes(ax, figsize=(6, 2.0))
        side = round(self.inputs.shape[1] ** 0.5)
        pictures = self.inputs[:32].cpu().reshape(2, 16, side, side)
        ax.imshow(pictures.permute(0, 2, 1, 3).reshape(2 * side, 16 * side), cmap="gray_r")
        ax.set_title(" ".join(map(str, self.targets[:32].tolist())), fontsize=8)
        ax.set_axis_off()
        return ax


def digits(
    *, seed: int = 0, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Dataset:
    """The 1,797 handwritten digits bundled with scikit-learn: 1,437 to learn from, 360 to be tested on.

    inputs: (examples, 64), rows of 8 × 8 pictures, shifted and scaled as a whole so that the learning inputs
    have mean 0 and second moment 1. targets: (examples,), 0 to 9. The seed decides the split.
    Raises ModuleNotFoundError, with the command that helps, where scikit-learn is missing.
    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "digits() reads its data from scikit-learn, which is not installed\ninstall it with: pip install scikit-learn"
        ) from error
    dtype, device = floating_dtype(dtype), available_device(device)
    pictures, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=seeded(seed))
    inputs, targets = torch.tensor(pictures)[order], torch.tensor(labels)[order].long()
    learn = len(labels) * 4 // 5
    inputs = (inputs - inputs[:learn].mean()) / inputs[:learn].std(correction=0)
    return Dataset(inputs[:learn], targets[:learn], inputs[learn:], targets[learn:]).to(device, dtype)
