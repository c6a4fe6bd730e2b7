"""The data that scikit-learn bundles: handwritten digits, two photographs, and texts about data."""

from importlib.resources import files

import torch
from torch import Tensor

from ..arguments import available_device, floating_dtype, whole_numbers
from ..randomness import seeded
from ..signatures import checked
from .dataset import Dataset


@checked
def digits(*, seed: int = 0, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Dataset:
    """The 1,797 handwritten digits bundled with scikit-learn: 1,437 to learn from, 360 to be tested on.

    inputs: (examples, 64), rows of 8 × 8 pictures, shifted and scaled as a whole so that the learning inputs
    have mean 0 and second moment 1. targets: (examples,), 0 to 9. The seed decides the split.
    Raises ModuleNotFoundError, with the command that helps, where scikit-learn is missing.
    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.

    >>> data = digits()
    >>> data.inputs.shape, data.test_inputs.shape
    (torch.Size([1437, 64]), torch.Size([360, 64]))
    >>> ax = data.plot()
    >>> alt_text(ax, "The first 32 digits, pictures of 8 × 8, each with its number in a corner.")
    """
    load_digits = _of_sklearn("digits").load_digits
    dtype, device = floating_dtype(dtype), available_device(device)
    pictures, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=seeded(seed), device="cpu")
    inputs, targets = torch.tensor(pictures, device="cpu")[order], torch.tensor(labels, device="cpu")[order].long()
    learn = len(labels) * 4 // 5
    inputs = (inputs - inputs[:learn].mean()) / inputs[:learn].std(correction=0)
    return Dataset(inputs[:learn], targets[:learn], inputs[learn:], targets[learn:]).to(device, dtype)


@checked
def photographs(*, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> dict[str, Tensor]:
    """The two photographs bundled with scikit-learn by name, "china" and "flower": (3, 427, 640), values in [0, 1].

    Raises ModuleNotFoundError, with the command that helps, where scikit-learn is missing.
    Sources: danielbuechele (china) and vultilion (flower) on Flickr, both CC BY 2.0.

    >>> {name: picture.shape for name, picture in photographs().items()}
    {'china': torch.Size([3, 427, 640]), 'flower': torch.Size([3, 427, 640])}
    """
    load_sample_image = _of_sklearn("photographs").load_sample_image
    dtype, device = floating_dtype(dtype), available_device(device)

    def picture(name: str) -> Tensor:
        return (torch.tensor(load_sample_image(f"{name}.jpg"), device="cpu").permute(2, 0, 1) / 255).to(device, dtype)

    return {name: picture(name) for name in ("china", "flower")}


@checked
def characters(length: int = 32, *, device: torch.device | str | None = None) -> tuple[Dataset, str]:
    """English text, about data sets, in pieces of `length` characters to predict one by one; and its alphabet.

    inputs: (examples, length), places in the alphabet; targets: the same text one character later. The last tenth is
    to be tested on. The texts are the descriptions that scikit-learn bundles with its data: about 43,000 characters.
    Raises ValueError for a length below 1 or beyond the shorter part, ModuleNotFoundError where scikit-learn is
    missing.

    >>> text, alphabet = characters(length=32)
    >>> text.inputs.shape[1], torch.equal(text.inputs[:, 1:], text.targets[:, :-1])  # the same, one character later
    (32, True)
    >>> "".join(sorted(alphabet)) == alphabet
    True
    """
    _of_sklearn("characters")
    (length,), device = whole_numbers(length=length), available_device(device)
    folder = files("sklearn.datasets.descr")
    texts = sorted((file.name, file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".rst"))
    text = "".join(character for _, text in texts for character in text if character.isascii())
    alphabet = "".join(sorted(set(text)))
    numbers = torch.tensor([alphabet.index(character) for character in text], device=device)
    cut = len(numbers) * 9 // 10
    if length >= len(numbers) - cut:
        raise ValueError(f"length={length}\nexpected less than {len(numbers) - cut}, the characters to be tested on")
    parts = [_pieces(part, length) for part in (numbers[:cut], numbers[cut:])]
    return Dataset(*parts[0], *parts[1]), alphabet


def _pieces(numbers: Tensor, length: int) -> tuple[Tensor, Tensor]:
    used = (len(numbers) - 1) // length * length
    return numbers[:used].view(-1, length), numbers[1 : used + 1].view(-1, length)


def _of_sklearn(function: str):
    """scikit-learn's datasets. Raises ModuleNotFoundError, with the command that helps, where it is missing."""
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{function}() reads its data from scikit-learn, which is not installed\n"
            "install it with: pip install scikit-learn"
        ) from error
    return datasets
