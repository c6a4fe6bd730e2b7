"""Which remedy repairs which network: every remedy on every patient, over seeds."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from math import isfinite, isnan

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .activations import Activation
from .arguments import available_device, seed_list, whole_numbers
from .datasets import Dataset
from .initializers import Initializer, he_normal_, normal_, torch_default_, xavier_normal_
from .networks import mlp, residual_mlp
from .plotting import Axes, heatmap, new_axes
from .processes import progress_bar, shared
from .results import Result
from .signatures import checked
from .training import clip_by_global_norm_, train

__all__ = ["PATIENTS", "REMEDIES", "Patient", "RemedyMatrix", "remedy_matrix"]

_MOMENTUM = partial(torch.optim.SGD, lr=0.03, momentum=0.9)


@dataclass(frozen=True)
class Patient:
    """A network of some depth, and how it is trained.

    >>> patient = Patient(torch.tanh, INITIALIZERS["Xavier"], depth=5)
    >>> patient.network(seed=0)(torch.ones(3, 64)).shape
    torch.Size([3, 10])
    """

    activation: Activation  # after each hidden layer
    initializer: Initializer  # of all weights
    depth: int = 20  # linear maps on the way from the input to the output
    width: int = 32  # of each hidden layer
    norm: Callable[[int], nn.Module] | None = None  # of a width, as `mlp` takes it
    residual: bool = False  # every two linear maps are a branch beside an identity
    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer] = _MOMENTUM  # as `train` takes it
    clip: Callable[[Sequence[Tensor]], Tensor] | None = None  # as `train` takes it

    def network(self, seed: int) -> nn.Module:
        """The network for the 64 pixels and ten classes of the digits.

        Raises ValueError for an odd depth of a residual network, whose branches have two linear maps each, and what
        `mlp` and `residual_mlp` raise.
        """
        if self.residual and self.depth % 2:
            raise ValueError(
                f"depth={self.depth} of a residual network\nexpected an even number: two linear maps a branch"
            )
        drawn = {"initializer": self.initializer, "norm": self.norm, "seed": seed}
        if self.residual:
            return residual_mlp(self.width, (self.depth - 2) // 2, self.activation, **drawn)
        return mlp([64] + [self.width] * (self.depth - 1) + [10], self.activation, **drawn)


Remedy = Callable[[Patient], Patient]


def fitting_initializer(patient: Patient) -> Patient:
    """The patient with He's weights for a ReLU, and Xavier's for anything else."""
    return replace(patient, initializer=he_normal_ if patient.activation is torch.relu else xavier_normal_)


def together(*remedies: Remedy) -> Remedy:
    """One remedy that applies these in turn."""
    return lambda patient: reduce(lambda treated, remedy: remedy(treated), remedies, patient)


_FIVE: dict[str, Remedy] = {
    "clipping": partial(replace, clip=partial(clip_by_global_norm_, limit=1.0)),
    "ReLU": partial(replace, activation=torch.relu),
    "initialization": fitting_initializer,
    "batch norm": partial(replace, norm=nn.BatchNorm1d),
    "residual": partial(replace, residual=True),
}
REMEDIES: dict[str, Remedy] = {
    "nothing": together(),
    **_FIVE,
    "all five": together(*_FIVE.values()),
}
"""Remedies by name: functions from a `Patient` to a treated one.

>>> REMEDIES["ReLU"](PATIENTS["sigmoid Xavier"]) == Patient(torch.relu, xavier_normal_)
True
"""
PATIENTS: dict[str, Patient] = {
    "sigmoid N(0, 1)": Patient(torch.sigmoid, normal_),
    "sigmoid Xavier": Patient(torch.sigmoid, xavier_normal_),
    "tanh N(0, 1)": Patient(torch.tanh, normal_),
    "ReLU N(0, 0.01²)": Patient(torch.relu, partial(normal_, std=0.01)),
    "ReLU N(0, 1)": Patient(torch.relu, normal_),
    "ReLU torch default": Patient(torch.relu, torch_default_),
    "ReLU He, 50 layers": Patient(torch.relu, he_normal_, depth=50),
}
"""Patients by name, of 20 layers where it does not say how many.

>>> patient = PATIENTS["ReLU He, 50 layers"]
>>> patient.depth, len(patient.network(seed=0))
(50, 50)
"""


@dataclass(frozen=True, eq=False, repr=False)
class RemedyMatrix(Result):
    """How much each patient learned under each remedy, and what it let through of a gradient before.

    >>> patients = {"a small one": Patient(torch.tanh, normal_, depth=4)}
    >>> remedies = {"batch norm": REMEDIES["batch norm"]}
    >>> matrix = remedy_matrix(digits(), patients=patients, remedies=remedies, steps=5, seeds=[0, 1], progress=False)
    >>> matrix.of("a small one", "batch norm").shape, matrix.log10_ratio.shape  # seeds; patients, remedies, seeds
    (torch.Size([2]), torch.Size([1, 1, 2]))
    """

    patients: tuple[str, ...]  # names of the rows
    remedies: tuple[str, ...]  # names of the columns
    accuracy: Tensor  # (patients, remedies, seeds), share of the training examples named right at the end
    log10_ratio: Tensor  # (patients, remedies, seeds), of a gradient's norm at the input over that at the output
    diverged: Tensor  # (patients, remedies, seeds), True where the loss became infinite or NaN
    interrupted: bool = False  # whether the run was stopped by hand; cells that it did not reach are NaN

    def of(self, patient: str, remedy: str) -> Tensor:
        """The accuracies of one patient under one remedy, (seeds,). Raises ValueError for an unknown name."""
        for name, names in ((patient, self.patients), (remedy, self.remedies)):
            if name not in names:
                raise ValueError(f"{name!r} is not in the matrix\nexpected one of {', '.join(names)}")
        return self.accuracy[self.patients.index(patient), self.remedies.index(remedy)]

    def plot(self, ax: Sequence[Axes] | None = None) -> Sequence[Axes]:
        """Two axes with medians over seeds as heat maps: accuracy in percent, and powers of ten of the gradient."""
        size = (9.8, 0.32 * len(self.patients) + 1.4)
        pair: Sequence[Axes] = new_axes(ncols=2, figsize=size, sharey=True) if ax is None else ax
        left, right = pair
        names = {"rows": self.patients, "columns": self.remedies}
        percent, powers = 100 * self.accuracy.median(-1).values, self.log10_ratio.median(-1).values
        heatmap(left, percent, vmin=0, vmax=100, label="% right after training", **names)
        heatmap(right, powers, vmin=-12, vmax=12, cmap="PuOr", label="log₁₀ |gradient|, input / output", **names)
        for axes, values in ((left, percent), (right, powers)):
            for (row, column), value in _entries(values):
                pale = (value < 60) if axes is left else (abs(value) > 8)
                colour = "white" if pale else "black"
                text = "–" if isnan(value) else f"{round(value)}" if isfinite(value) else f"{value:+.0f}"
                axes.text(column, row, text, color=colour, ha="center", va="center", fontsize=8)
        return pair


@checked
def remedy_matrix(
    data: Dataset,
    *,
    patients: Mapping[str, Patient] = PATIENTS,
    remedies: Mapping[str, Remedy] = REMEDIES,
    steps: int = 60,
    seeds: Iterable[int] = range(8),
    batch: int = 64,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> RemedyMatrix:
    """Each patient under each remedy, trained from scratch with one network per seed.

    patients: anything with network(seed), optimizer and clip, as a `Patient` has them. remedies: functions from a
    patient to a treated one. Treated patients that are equal are trained once; a `process_group` shares them out.
    The accuracy is that on the examples the network learns from: the question is whether it can learn. The gradient
    ratio is measured before training, in float64, on the first `batch` examples. Ctrl-C or the notebook's stop button
    ends the run early and returns the cells done. data, steps: as for `train`.
    Raises ValueError if there is no patient or no remedy, TypeError if they have no names, and what `train` raises.

    >>> patients = {name: PATIENTS[name] for name in list(PATIENTS)[:3]}
    >>> remedies = {name: REMEDIES[name] for name in list(REMEDIES)[:3]}
    >>> matrix = remedy_matrix(digits(), patients=patients, remedies=remedies, steps=20, seeds=[0], progress=False)
    >>> matrix.accuracy.shape  # patients, remedies, seeds
    torch.Size([3, 3, 1])
    >>> axes = matrix.plot()
    """
    (batch,), seeds, device = whole_numbers(batch=batch), seed_list(seeds), available_device(device)
    for name, given in (("patients", patients), ("remedies", remedies)):
        if not isinstance(given, Mapping):
            raise TypeError(f"{name} of type {type(given).__name__}\nexpected a dict, by name")
    if not patients or not remedies:
        raise ValueError(f"{len(patients)} patients and {len(remedies)} remedies\nexpected at least one of each")
    data = data.to(device)
    learnt = replace(data, test_inputs=data.inputs, test_targets=data.targets)
    treated = [remedy(patient) for patient in patients.values() for remedy in remedies.values()]
    distinct = [case for index, case in enumerate(treated) if case not in treated[:index]]

    def outcomes(cases: list[Patient]):
        for case in progress_bar(cases, of="remedies", shown=progress):
            yield _outcome(case, learnt, steps, seeds, batch, device)

    columns = shared(outcomes, distinct)
    missing = len(distinct) - len(columns)
    unknown = torch.full((len(seeds),), torch.nan, dtype=torch.float64, device="cpu")
    columns += [(unknown, unknown, torch.zeros_like(unknown).bool())] * missing
    found = [torch.stack([columns[distinct.index(case)][part] for case in treated]) for part in range(3)]
    accuracy, ratio, diverged = (part.reshape(len(patients), len(remedies), len(seeds)) for part in found)
    return RemedyMatrix(tuple(patients), tuple(remedies), accuracy, ratio, diverged, missing > 0)


def _outcome(case: Patient, data: Dataset, steps: int, seeds, batch: int, device) -> tuple[Tensor, Tensor, Tensor]:
    """Accuracy, gradient ratio and divergence of one treated patient, (seeds,) each."""
    ratios = []

    def measured(seed: int) -> nn.Module:
        network = case.network(seed)
        ratios.append(gradient_ratio(copy.deepcopy(network), data, batch))
        return network

    run = train(
        measured, data, optimizer=case.optimizer, clip=case.clip,
        steps=steps, seeds=seeds, batch=batch, device=device, progress=False,
    )  # fmt: skip
    if run.interrupted:  # half a cell would pass for a whole one
        raise KeyboardInterrupt
    return run.accuracy.double(), torch.stack(ratios).cpu(), run.diverged


def gradient_ratio(network: nn.Module, data: Dataset, batch: int) -> Tensor:
    """log₁₀ of the norm of the loss's gradient at the network's input over that at its output, in float64.

    NaN where the loss has no gradient at all, as that of a network which is certain and right.
    """
    inputs = data.inputs[:batch].double().requires_grad_()
    outputs = network.to(inputs.device, torch.float64)(inputs)
    loss = F.cross_entropy(outputs, data.targets[:batch])
    at_input, at_output = torch.autograd.grad(loss, (inputs, outputs))
    return (at_input.norm() / at_output.norm()).log10()


def _entries(values: Tensor):
    return (((row, column), value) for row, line in enumerate(values.tolist()) for column, value in enumerate(line))
