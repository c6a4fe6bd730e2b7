"""Problems that ask a network to remember."""

import torch
from torch.nn import functional as F

from ..arguments import available_device, floating_dtype, whole_numbers
from ..randomness import seeded
from ..signatures import checked
from .dataset import Dataset


@checked
def adding_problem(
    length: int,
    examples: int = 1000,
    *,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Dataset:
    """Sequences of numbers of which two are marked: their sum is the target. Half of the examples again is for tests.

    inputs: (examples, length, 2), a number uniform on [0, 1) and a mark 0 or 1; one mark in each half of the length.
    targets: (examples, 1). Answering 1 always has a mean squared error of 1/6.
    Raises ValueError for a length below 2, examples below 2, or a bad dtype or device.
    Source: Hochreiter and Schmidhuber 1997, section 5.4, in the form of Le et al. 2015, arXiv:1504.00941.

    >>> data = adding_problem(length=10)
    >>> numbers, marks = data.inputs.unbind(-1)
    >>> marks.sum(1).unique(), torch.allclose((numbers * marks).sum(1, keepdim=True), data.targets)
    (tensor([2.]), True)
    """
    length, examples = whole_numbers(length=length, examples=examples, at_least=2)
    generator, total = seeded(seed), examples + examples // 2
    numbers = torch.rand(total, length, generator=generator, device="cpu")
    first = torch.randint(length // 2, (total,), generator=generator, device="cpu")
    second = torch.randint(length // 2, length, (total,), generator=generator, device="cpu")
    marks = F.one_hot(first, length) + F.one_hot(second, length)
    inputs, targets = torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(1, keepdim=True)
    return _split(inputs, targets, examples).to(available_device(device), floating_dtype(dtype))


@checked
def copy_problem(
    delay: int,
    examples: int = 1000,
    *,
    symbols: int = 8,
    recall: int = 10,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Dataset:
    """Symbols to be repeated after a delay. Half of the examples again is for tests.

    inputs, targets: (examples, delay + 2 · recall), numbers below symbols + 2. Inputs are `recall` symbols, then
    blanks (the number `symbols`), one of them a signal (symbols + 1) to begin; targets are blanks and, at the end, the
    symbols. Guessing the symbols has a loss of recall · ln(symbols) / (delay + 2 · recall) nats per step.
    Raises ValueError for delay, recall or symbols below 1, examples below 2, or a device that is not there.
    Source: Hochreiter and Schmidhuber 1997, in the form of Arjovsky et al. 2016, arXiv:1511.06464, section 4.1.

    >>> data = copy_problem(delay=3, recall=2)  # two symbols below 8, 8 a blank, 9 the signal to begin
    >>> data.inputs[0].tolist(), data.targets[0].tolist()
    ([4, 7, 8, 8, 9, 8, 8], [8, 8, 8, 8, 8, 4, 7])
    """
    delay, symbols, recall = whole_numbers(delay=delay, symbols=symbols, recall=recall)
    (examples,) = whole_numbers(examples=examples, at_least=2)
    total, length, blank = examples + examples // 2, delay + 2 * recall, symbols
    told = torch.randint(symbols, (total, recall), generator=seeded(seed), device="cpu")
    inputs, targets = torch.full((2, total, length), blank, device="cpu")
    inputs[:, :recall] = told
    inputs[:, recall + delay - 1] = blank + 1
    targets[:, -recall:] = told
    return _split(inputs, targets, examples).to(available_device(device))


def _split(inputs, targets, examples: int) -> Dataset:
    return Dataset(inputs[:examples], targets[:examples], inputs[examples:], targets[examples:])
