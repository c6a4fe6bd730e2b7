"""Coordinates of layers: by how much a step of the optimizer changes them, whatever the width."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .arguments import check_factory, seed_list, whole_numbers
from .borrowing import borrowed, reseed
from .containers import tensors_in
from .plotting import Axes, line_with_band, literal, new_axes, shades
from .randomness import global_stream
from .recording.modules import check_kinds, eager, is_layer, named_modules
from .recording.statistics import measurable, norm
from .results import Result
from .signatures import checked
from .threads import one_thread_on_two_cores
from .training.optimizers import MakeOptimizer, optimizer_of

__all__ = ["CoordinateCheck", "coordinate_check"]

_MOST_LINES = 12  # that a legend can name


@dataclass(frozen=True, eq=False, repr=False)
class CoordinateCheck(Result):
    """By how much an optimizer changed the outputs of every layer, at several widths.

    >>> from functools import partial
    >>> def network(width, seed):
    ...     return mlp([8, width, width, 3], torch.tanh, initializer=lecun_normal_, seed=seed)
    >>> batch, sgd = (normal(6, 8, generator=seeded(0)), torch.arange(6) % 3), partial(torch.optim.SGD, lr=0.1)
    >>> found = coordinate_check(network, *batch, widths=[16, 32, 64], optimizer=sgd, seeds=[0, 1])
    >>> found.layers, found.change.shape, found.growth.shape  # seeds, layers, steps; and widths
    (('layer1.linear', 'layer2.linear', 'output'), torch.Size([2, 3, 3, 3]), torch.Size([2, 3, 3]))
    """

    layers: tuple[str, ...]  # calls of layers, in the order of the first
    widths: Tensor  # (widths,)
    change: Tensor  # (seeds, layers, steps, widths), rms of the output less that before the first step; NaN without one

    @property
    def growth(self) -> Tensor:
        """The power of the width with which each change grows, (seeds, layers, steps): the slope between logarithms."""
        x = self.widths.double().log()
        x = x - x.mean()
        return (self.change.double().log() * x).sum(-1) / x.square().sum()

    def __getitem__(self, layer: str) -> Tensor:
        """The change of one layer's output, (seeds, steps, widths). Raises KeyError for a name that is not there."""
        if layer not in self.layers:
            raise KeyError(f"{layer!r} was not checked\nexpected one of {', '.join(self.layers)}")
        return self.change[:, self.layers.index(layer)]

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Axes with each layer's change after the last step against the width: a line that is level is what muP wants.

        Median and 10–90 % band over seeds, early layers dark, late ones light; the legend names a dozen at most.
        """
        ax = new_axes(ax)
        ax.set(xscale="log", yscale="log", xlabel="width", ylabel="change of a coordinate (rms)")
        ax.set_xticks(self.widths.tolist(), [str(width) for width in self.widths.tolist()])
        ax.minorticks_off()
        every = -(-len(self.layers) // _MOST_LINES)
        for index, (name, shade) in enumerate(zip(self.layers, shades(len(self.layers)))):
            look: dict[str, Any] = {"color": shade} | ({"label": literal(name)} if index % every == 0 else {}) | style
            line_with_band(ax, self.widths.double(), self.change[:, index, -1], **look)
        return ax


@checked
@one_thread_on_two_cores()
@torch.inference_mode(False)
@torch.enable_grad()
def coordinate_check(
    make_model: Callable[[int, int], nn.Module],
    inputs: Tensor | tuple | Mapping[str, Any],
    targets: Any,
    *,
    widths: Sequence[int],
    optimizer: MakeOptimizer,
    loss: Callable[[Any, Any], Tensor] = F.cross_entropy,
    steps: int = 3,
    seeds: Iterable[int] = range(8),
    kinds: type | tuple[type, ...] | None = None,
) -> CoordinateCheck:
    """By how much a few steps change the output of every layer on one batch, for each width and seed.

    make_model(width, seed) returns a module, whose modes are left as they come; torch's global stream is seeded while
    it runs, so that partial or lambda width, seed: Net(width) is enough. inputs: a batch as the model takes it, a
    tuple of positional arguments, or a dict of named ones. optimizer(parameters) is one of torch's, as for `train`;
    loss(outputs, targets) a scalar. Every step sees the same batch, and the same random numbers where a model draws
    any. Layers are those of `record`, of these `kinds`; of a layer that is called twice "name#2" is the second call.

    Returns `change`, (seeds, layers, steps, widths): the root mean square, over all entries of the output, of what it
    is after the step less what it was before the first; and its `growth` with the width. In the standard
    parametrization under Adam the change of hidden layers grows as the width, so that the best learning rate falls; in
    muP neither depends on it. The models that make_model returned and torch's random streams are afterwards as they
    were.
    Raises ValueError for fewer than two widths or one that comes twice, sizes below 1, a loss that is no scalar or
    depends on no parameter, a model of other layers at one width than at the first; TypeError for no module or
    optimizer.
    Source: Yang et al. 2022, arXiv:2203.03466, figure 5 and appendix D.1.

    >>> from functools import partial
    >>> from d2lstab import lecun_normal_, mlp, seeded
    >>> from d2lstab.randomness import normal
    >>> def network(width, seed):
    ...     return mlp([8, width, width, 3], torch.tanh, initializer=lecun_normal_, seed=seed)
    >>> inputs, targets = normal(6, 8, generator=seeded(0)), torch.arange(6) % 3
    >>> adam = partial(torch.optim.Adam, lr=1e-4)
    >>> found = coordinate_check(network, inputs, targets, widths=[64, 256], optimizer=adam)
    >>> dict(zip(found.layers, found.growth[..., 0].median(0).values.round().int().tolist()))
    {'layer1.linear': 0, 'layer2.linear': 1, 'output': 1}
    >>> ax = found.plot()
    """
    check_factory("make_model", make_model)
    (steps,) = whole_numbers(steps=steps)
    seeds, widths = seed_list(seeds), _widths(widths)
    tensors = tensors_in(inputs)
    if not tensors or any(not each.numel() for each in tensors):
        given = ", ".join(str(tuple(each.shape)) for each in tensors) or f"type {type(inputs).__name__}"
        raise ValueError(f"inputs of {given}\nexpected a batch as the model takes it, of at least one sample")
    found: dict[tuple[int, int], dict[str, list[float]]] = {}
    for width in widths:
        for seed in seeds:
            with global_stream(seed, tensors[0].device):
                model = make_model(width, seed)
            if not isinstance(model, nn.Module):
                raise TypeError(
                    f"make_model({width}, {seed}) returned {type(model).__name__}\nexpected an nn.Module, a new one for each"
                )
            check_kinds(model, kinds)
            with borrowed(model):
                updates = optimizer_of(optimizer, model)
                found[width, seed] = _changes(model, inputs, partial(_loss, loss, targets), updates, steps, kinds)
    layers = tuple(found[widths[0], seeds[0]])
    for (width, _), changes in found.items():
        if set(changes) != set(layers):
            odd = ", ".join(sorted(set(changes) ^ set(layers)))
            raise ValueError(f"at width {width} other layers are called than at {widths[0]}: {odd}\nexpected the same")
    change = [[[found[width, seed][name] for width in widths] for name in layers] for seed in seeds]
    rows = torch.tensor(change, dtype=torch.float64, device="cpu").reshape(len(seeds), len(layers), len(widths), steps)
    return CoordinateCheck(layers, torch.tensor(widths, device="cpu"), rows.mT.contiguous())


def _changes(model, inputs, loss_of, updates: torch.optim.Optimizer, steps: int, kinds) -> dict[str, list[float]]:
    """The change of each layer's output after each step, by name."""
    before: dict[str, Tensor] = {}
    changes: dict[str, list[float]] = {}
    for step in range(steps + 1):
        reseed(model)
        updates.zero_grad()
        with _outputs_of(model, kinds) as outputs:
            predicted = _called(model, inputs)
        if step == 0:
            before, changes = outputs, {name: [] for name in outputs}
        for name in changes if step else ():
            changes[name].append(_rms_between(before[name], outputs.get(name)))
        if step < steps:
            loss_of(predicted).backward()
            updates.step()
    return changes


@contextmanager
def _outputs_of(model: nn.Module, kinds) -> Iterator[dict[str, Tensor]]:
    """A context in which every call of a layer leaves a copy of its output, by name."""
    outputs: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def keep(name: str, module: nn.Module, arguments: tuple, output: Any) -> None:
        tensors = tensors_in(output)
        if tensors and measurable(tensors[0]):
            calls[name] = calls.get(name, 0) + 1
            label = name or type(module).__name__
            outputs[label if calls[name] == 1 else f"{label}#{calls[name]}"] = tensors[0].detach().clone()

    layers = [(name, module) for name, module in named_modules(model) if is_layer(name, module, kinds)]
    handles = [module.register_forward_hook(partial(keep, name)) for name, module in layers]
    try:
        with eager():
            yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _called(model: nn.Module, inputs: Any) -> Any:
    """What the model returns for copies of the inputs, which it may overwrite."""
    if isinstance(inputs, Mapping):
        return model(**{name: _copy(value) for name, value in inputs.items()})
    return model(*(_copy(value) for value in (inputs if isinstance(inputs, tuple) else (inputs,))))


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _loss(loss: Callable[[Any, Any], Tensor], targets: Any, outputs: Any) -> Tensor:
    found = loss(outputs, targets)
    if not isinstance(found, Tensor) or found.numel() != 1:
        given = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"type {type(found).__name__}"
        raise ValueError(f"loss(outputs, targets) of {given}\nexpected a scalar tensor: loss.mean()")
    if not found.requires_grad:
        raise ValueError("the loss depends on no parameter that requires grad\nexpected one that steps can change")
    return found


def _rms_between(before: Tensor, after: Tensor | None) -> float:
    if after is None or after.shape != before.shape:
        return nan
    return float(norm(after - before)) / before.numel() ** 0.5


def _widths(widths: Sequence[int]) -> list[int]:
    """The widths as ints. Raises ValueError for fewer than two, or one that comes twice."""
    numbers = [whole_numbers(**{f"widths[{index}]": width})[0] for index, width in enumerate(widths)]
    if len(set(numbers)) < max(2, len(numbers)):
        raise ValueError(f"widths={numbers}\nexpected at least two, each different, such as [64, 128, 256]")
    return numbers
