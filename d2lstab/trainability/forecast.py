"""From one look at initialization: how likely does a network train?"""

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import exp, inf, log10, nan
from typing import Any

import torch
from torch import Tensor, nn

from ..containers import tensors_in
from ..plotting import Axes, line_with_band, new_axes
from ..processes import progress_bar
from ..randomness import seed_streams, streams_kept
from ..results import Result
from .operations import Operations
from .rehearsal import MakeOptimizer, Rehearsal, Unmeasurable, outcomes, rehearsal
from .tangent import independent_directions, tangent_kernel

# Decades; beyond, rounding errors speak.
_RANGES = {"learnt": (-6.0, 2.0), "excess": (-1.0, 1.0), "directions": (-6.0, 0.0)}
_MOST_PARAMETERS = 50_000_000  # five copies are kept at a time
_FEWEST_SAMPLES, _MOST_SAMPLES = 4, 32


@dataclass(frozen=True)
class _Trial:
    """How an optimizer is tried, and what the three quantities then weigh in the log-odds."""

    optimizer: MakeOptimizer
    rates: tuple[float, ...]
    steps: int
    weights: tuple[float, float, float]  # of learnt, excess and directions
    offset: float
    overshoots: bool  # whether a loss that rises tells that a rate is too large; Adam's rises at first, and comes back


@dataclass(frozen=True)
class _Plan:
    """What is spent on a network of a size."""

    operations: float  # at most, multiplications and additions of one pass forward
    share: float  # of the batch that is used, at most 32 samples
    fewest: int  # samples
    kernel: int  # samples
    sgd: _Trial
    adam: _Trial


# Weights and offsets are logistic regressions on the 150 labelled networks of tests/trainability.jsonl: ridge 1 on
# standardized quantities, both labels of equal weight. With a family of networks (MLP, CNN, ...) left out at a time,
# the area under the curve is 0.983 and 0.979 (SGD, Adam) for the first plan, 0.974 and 0.955 for the second. On the
# networks of experiments/tasks.py, other tasks that had no part in it, it is 0.976 and 0.958, and 0.951 and 0.927. Found
# on both sets, with a task left out at a time, constants do no better there: 0.977 and 0.952, and Adam's do worse on
# digits: 0.977, and 0.943 for the second plan.
_SGD, _ADAM = partial(torch.optim.SGD, momentum=0.9), torch.optim.Adam
_PLANS = (
    _Plan(
        operations=1.5e8,
        share=1.0,
        fewest=_FEWEST_SAMPLES,
        kernel=8,
        sgd=_Trial(_SGD, (1e-1, 1e-2, 1e-3, 1e-4), 10, (0.87, 2.18, 0.71), 3.11, True),
        adam=_Trial(_ADAM, (1e-2, 1e-3, 1e-4), 20, (0.78, 2.29, 0.69), 2.06, False),
    ),
    _Plan(
        operations=inf,
        share=0.25,
        fewest=8,
        kernel=4,
        sgd=_Trial(_SGD, (1e-1, 1e-2, 1e-3), 3, (1.01, 2.07, 0.71), 3.91, True),
        adam=_Trial(_ADAM, (1e-2, 1e-3, 1e-4), 3, (0.73, 2.29, 1.27), 3.48, False),
    ),
)


@dataclass(frozen=True, eq=False, repr=False)
class Trainability(Result):
    """How likely each optimizer trains the network at its best learning rate, and what says so.

    >>> model = mlp([8, 16, 3], torch.relu, initializer=he_normal_)
    >>> likely = diagnose(model, normal(16, 8, generator=seeded(0)), torch.arange(16) % 3).trainability
    >>> likely.sgd > 0.5, likely.adam > 0.5
    (True, True)
    >>> ax = likely.plot()
    """

    sgd: float  # with momentum 0.9; in [0, 1], NaN where not measured
    adam: float  # as sgd
    quantities: dict[str, float] = field(default_factory=dict)  # learnt, excess and directions of each optimizer
    note: str = ""  # why something was not measured

    def plot(self, ax: Axes | None = None) -> Axes:
        """Both on the curve that turns evidence into a probability."""
        ax = new_axes(ax)
        ax.set(xlabel="evidence (log-odds)", ylabel="probability that it trains", ylim=(-0.05, 1.05))
        evidence = torch.linspace(-10, 10, 201, device="cpu")
        line_with_band(ax, evidence, evidence.sigmoid(), color="0.6")
        for name, value in (("SGD", self.sgd), ("Adam", self.adam)):
            place = torch.tensor([value], device="cpu").clamp(4.54e-5, 1 - 4.54e-5)
            line_with_band(ax, place.logit(), place, marker="o", linestyle="none", label=f"{name}: {value:.2f}")
        return ax


def trainability(model: nn.Module, inputs: Any, targets: Any, loss: Callable[..., Tensor] | None) -> Trainability:
    """How likely SGD (momentum 0.9) and Adam each train this network at their best learning rate.

    inputs: a tensor, a tuple or a dict of what the model takes, or (tuple, dict). targets: as the loss takes them,
    or None: then random codes stand in for them. loss(outputs, targets): a scalar, or None for the usual one.

    Each optimizer takes a few steps at each of a few rates on private copies of all numbers, with the loss scaled
    to a slope of about 1 per answer; the rate at which most is learnt counts (with SGD, without a loss that rises).
    Then three quantities, in decades: learnt (the odds of the share by which the loss rises when every sample is
    given another one's target: what the network knows about *which* sample it sees, asked with 30 % of another sample
    mixed in, for a chaotic network can learn a batch by heart), excess (how far the loss is below a constant
    answer's) and directions (the geometric mean of the centred tangent kernel's eigenvalues over its largest, each with
    its direction's share in where the loss moves equal answers: how readily samples move apart in the ways that the
    targets ask for, hardly in symmetric and collapsed networks). A logistic of the three says how likely, where as many
    train as do not.

    The model, its buffers and gradients, and the random streams stay as they are. The cost is 100 steps of at most
    32 samples where a pass forward through them takes up to 1.5·10⁸ operations; beyond, 18 steps of a quarter of the
    batch, at most 32 samples: 12 to 15 plain steps on ResNet-50 with 32 images of 64². Not measured are more than 50
    million parameters, batches of fewer than 4 samples (beyond 1.5·10⁸ operations, 32) and targets that are all the
    same. What is not measured is NaN, with the reason in `note`; nothing is raised for the model's sake.
    """
    try:
        with _undisturbed(model):
            return _measured(model, inputs, targets, loss)
    except Unmeasurable as error:
        return _unmeasured(str(error))
    except Exception:  # noqa: BLE001  whatever somebody's model raises: it could not be measured
        return _unmeasured(
            "the model cannot be run with other weights in place of its own, on a part of the batch, or its loss on other targets"
        )


def _measured(model: nn.Module, inputs, targets, loss: Callable[..., Tensor] | None) -> Trainability:
    size = sum(each.numel() for each in model.parameters())
    if not any(each.requires_grad for each in model.parameters()):
        return _unmeasured("no parameter requires a gradient")
    if size > _MOST_PARAMETERS:
        return _unmeasured(f"{size:,} parameters are more than {_MOST_PARAMETERS:,}")
    whole = rehearsal(model, inputs, targets, loss)
    if whole.samples < _FEWEST_SAMPLES or not whole.distinguishes():
        return _unmeasured(f"{whole.samples} samples: fewer than {_FEWEST_SAMPLES}, or all with the same target")
    plan, tried = _planned(whole)
    if tried.samples > whole.samples * plan.share:
        least = int(plan.fewest / plan.share)
        return _unmeasured(f"too much work for a batch of {whole.samples}: {least} samples of which a part can be used")
    quantities, answers = {"samples": float(tried.samples)}, {}
    trials = {"sgd": plan.sgd, "adam": plan.adam}
    steps = sum(len(each.rates) * each.steps for each in trials.values())
    with progress_bar(of="forecast", total=steps, after=2) as bar:
        for name, trial in trials.items():
            three, rate = _quantities(tried, trial, plan.kernel, bar.update)
            quantities |= {f"{name}_{key}": value for key, value in three.items()} | {f"{name}_rate": rate}
            log_odds = trial.offset + sum(w * value for w, value in zip(trial.weights, three.values()))
            answers[name] = 1 / (1 + exp(-log_odds))
    return Trainability(**answers, quantities=quantities)


def _planned(whole: Rehearsal) -> tuple[_Plan, Rehearsal]:
    """What a network's size allows to try, with the part of the batch for it, or all where it takes no part."""
    plan, tried = _PLANS[-1], whole
    for plan in _PLANS:
        tried = whole.part(min(_MOST_SAMPLES, max(plan.fewest, int(whole.samples * plan.share))))
        try:
            operations = _operations(tried)
        except Exception:  # noqa: BLE001  some tensors have an axis that only looks like the batch
            tried, operations = whole, _operations(whole)
        if operations <= plan.operations:
            break
    return plan, tried if tried.distinguishes() else whole


def _operations(tried: Rehearsal) -> int:
    """The multiplications and additions of one pass forward, as far as torch counts them."""
    with Operations() as operations, torch.no_grad():
        tried.loss(tried.outputs(*tried.numbers()), tried.targets)
    return operations.total


def _quantities(
    tried: Rehearsal, trial: _Trial, samples: int, stepped: Callable[[], object]
) -> tuple[dict[str, float], float]:
    """What counts, in decades and within its range, at the best rate, and that rate.

    The least and NaN where the loss stays finite at no rate.
    """
    best = None
    for outcome in outcomes(tried, trial.optimizer, trial.rates, trial.steps, stepped):
        learnt = _within("learnt", _decades(outcome.learnt) - _decades(1 - outcome.learnt))
        excess = _within("excess", outcome.excess)
        worth = learnt + excess * trial.overshoots
        best = (worth, outcome, learnt, excess) if best is None or worth > best[0] else best
    if best is None:
        return {name: low for name, (low, _) in _RANGES.items()}, nan
    _, outcome, learnt, excess = best
    few = tried.part(samples)
    try:
        outputs = few.outputs(*outcome.numbers)
        wanted = few.wanted(outputs)
    except Exception:  # noqa: BLE001  a graph's nodes, say, are no samples that could be left out
        outputs = tried.outputs(*outcome.numbers)
        wanted = tried.wanted(outputs)[:samples]
    output = next(each for each in tensors_in(outputs) if each.requires_grad and each.dim())
    kernel = tangent_kernel(output, list(outcome.numbers[0].values()), samples=len(wanted))
    directions = _within("directions", _decades(independent_directions(kernel, wanted)))
    return {"learnt": learnt, "excess": excess, "directions": directions}, outcome.rate


def _within(name: str, value: float) -> float:
    low, high = _RANGES[name]
    return min(max(value, low), high)


def _decades(share: float) -> float:
    return log10(share) if share > 0 else -inf


def _unmeasured(note: str) -> Trainability:
    return Trainability(nan, nan, note=note)


@contextmanager
def _undisturbed(model: nn.Module):
    """Gradients on, random streams forked and set, warnings of odd use silent, attributes of the modules put back."""
    before = [(module, dict(module.__dict__)) for module in model.modules()]
    devices = {each.device for each in (*model.parameters(), *model.buffers())}
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
            warnings.simplefilter("ignore")
            with streams_kept(devices):
                seed_streams(0, devices)
                yield
    finally:
        for module, attributes in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)
