"""Hooks that measure and leave nothing behind."""

import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from math import nan
from typing import Any

import torch
from torch import Tensor, nn

from ..containers import tensors_in
from ..signatures import checked
from .functional import BENDING, FunctionCalls, limits_of, unseen
from .keras import inner_activation
from .modules import axis_of_units, calls_functions, check_kinds, eager, in_backward, is_layer, is_leaf, named_modules
from .signals import Entry, Signals
from .statistics import add_gradient, extremes, flat_entries, measurable, norm, norms_along, pair_difference

# Layers that call no activation, and need nothing from their inputs: one hook is enough for them.
_SIMPLE = {nn.Linear, nn.Embedding, nn.Identity, nn.Flatten, nn.LayerNorm, nn.GroupNorm, nn.AvgPool2d, nn.MaxPool2d}
_SIMPLE |= {nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.AdaptiveAvgPool2d}
_TANH_FLAT = 0.99**0.5  # where 1 − tanh² is 1 %


@checked
@contextmanager
def record(model: nn.Module, *, kinds: type | tuple[type, ...] | None = None, full: bool = False) -> Iterator[Signals]:
    """A context in which every call of a layer of the model leaves a row in the Signals that it yields.

    Layers are modules without children or with parameters of their own; with `kinds`, the modules of these classes.
    Activations that are called as functions (F.relu) are rows as well, unless `kinds` is given. Gradients are those
    of the backward passes inside the block, added up. full=True adds dead units, saturated shares and largest
    entries. Nothing waits for the device until rows are read. Compiled parts of the model run eagerly inside the
    block. The model is afterwards as it would be without the block.
    Raises TypeError if the model is not a module.

    >>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    >>> with record(model) as signals:
    ...     model(torch.ones(4, 8)).sum().backward()
    >>> [row.kind for row in signals], signals["1"].shape
    (['Linear', 'ReLU'], (4, 8))
    >>> ax = signals.plot()
    """
    check_kinds(model, kinds)
    if not isinstance(full, bool):
        raise TypeError(f"full of type {type(full).__name__}\nexpected True or False")
    signals = Signals()
    recorder = Recorder(signals.tape, full)
    with ExitStack() as stack:
        stack.callback(recorder.close)
        recorder.watch(model, kinds)
        stack.enter_context(eager())
        if recorder.calls_functions:
            stack.enter_context(FunctionCalls(recorder))
        yield signals


class Recorder:
    """Turns calls of layers into entries of a tape."""

    def __init__(self, tape: list[Entry], full: bool):
        self.tape, self.full = tape, full
        self.handles, self.tensor_handles, self.hooked_leaves = [], [], []
        self.calls: dict[str, int] = {}
        self.calls_functions = True  # whether activations that are called as functions are of interest
        self.chosen: Collection[str] | None = None  # paths of the modules that are watched; None for all
        self.path: list[str] = []  # the modules that are being called, outermost first
        self.inside = 0  # how many of them are torch's own layers: the functions those call are part of them
        self.batch: int | None = None
        self.axis_of: dict[int, int] = {}  # the axis of units, by number of axes, as the last weight layer had it
        self.made: dict[int, tuple] = {}  # by the id of an output: a weak reference to it, and its place on the tape
        self.before: dict[str, Tensor | dict | None] = {}  # measured on the input of the layer that is being called
        self.inner: list[tuple[nn.Module, Any]] = []  # layers with an activation inside that we stand in for
        self.arguments: tuple = ()  # of the layer that is being called
        if full:
            for kind in BENDING:  # once, and before the pass: checkpointing counts what is saved inside of it
                limits_of(kind)

    def watch(self, model: nn.Module, kinds: type | tuple[type, ...] | None) -> None:
        modules = list(named_modules(model))
        watched = {name for name, _ in modules if self.chosen is None or name in self.chosen}
        self.calls_functions = kinds is None and any(calls_functions(each) for name, each in modules if name in watched)
        for name, module in modules:
            layer = is_layer(name, module, kinds)
            if layer and name not in watched:  # of interest only for what comes after it
                self.handles.append(module.register_forward_hook(self._pass_by))
                continue
            opaque = is_leaf(module) and type(module).__module__.startswith("torch.")
            measured = layer and (self.full or isinstance(module, nn.RNNBase))
            needed = measured or self.calls_functions
            entered = module is model or not layer or (needed and type(module) not in _SIMPLE)
            if entered:
                before = self._entrance(name, layer, opaque, measured)
                self.handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            inner = inner_activation(module) if layer and kinds is None else None
            if inner is not None:
                self.inner.append((module, inner))
                module.__dict__["activation"] = self._before_activation(name, module, inner)
            if entered or layer:
                after = unseen(partial(self._leave, name, layer, opaque))
                self.handles.append(module.register_forward_hook(after, always_call=entered))

    def _entrance(self, name: str, layer: bool, opaque: bool, measured: bool):
        """A hook that calls `_enter` where it has something to do; else it only notes what is being called."""
        path, enter = self.path, unseen(partial(self._enter, name, layer, opaque))

        def entered(module: nn.Module, arguments: tuple, keywords: dict) -> None:
            if measured or not path:
                enter(module, arguments, keywords)
                return
            path.append(name)
            self.inside += opaque

        return entered

    def _before_activation(self, name: str, layer: nn.Module, activation: Callable[..., Any]):
        """The activation inside a layer, before which the layer's row is made: it is then a call of its own."""

        def called(z: Tensor, *arguments: Any, **keywords: Any) -> Any:
            if not in_backward():
                with torch._C.DisableTorchFunction():
                    self.measure(name, type(layer).__name__, [z], self.before, self.arguments)
                self.before = {"told": None}
            return activation(z, *arguments, **keywords)

        return called

    @property
    def watching(self) -> bool:
        """Whether what the innermost module calls is of interest."""
        return self.chosen is None or self.path[-1] in self.chosen

    def _pass_by(self, module: nn.Module, arguments: tuple, output) -> None:
        if self.full and isinstance(output, Tensor):
            self._note_axis(module, output)

    def _note_axis(self, module: nn.Module, output: Tensor) -> None:
        axis = axis_of_units(module, output.dim())
        if axis is not None:
            self.axis_of[output.dim()] = axis

    def close(self) -> None:
        self.let_go()
        for module, activation in self.inner:
            module.__dict__["activation"] = activation
        for handle in self.handles:
            handle.remove()

    def let_go(self) -> None:
        """Removes the hooks on tensors, which belong to passes that are over."""
        for handle in self.tensor_handles:
            handle.remove()
        for leaf in self.hooked_leaves:  # a parameter that a layer returned: it had None before, not an empty dict
            leaf._backward_hooks = leaf._backward_hooks or None
        self.tensor_handles, self.hooked_leaves = [], []

    def _enter(self, name: str, layer: bool, opaque: bool, module: nn.Module, arguments: tuple, keywords: dict) -> None:
        inputs = tensors_in((arguments, keywords)) if layer or not self.path else []
        if not self.path:
            self.inside = 0
            self.batch = next((len(each) for each in inputs if each.dim()), None)
        self.path.append(name)
        self.inside += opaque
        self.before, self.arguments = {}, arguments
        if not layer or not inputs or in_backward():
            return
        if self.full:
            self.before["flat"] = flat_entries(inputs[0], limits_of(type(module)))
        if isinstance(module, nn.RNNBase) and inputs[0].requires_grad and inputs[0].dim() == 3:
            self.before["time"] = {}
            axis = 1 if module.batch_first else 0
            self._hook(inputs[0], partial(norms_along, axis, self.before["time"]))

    def _leave(self, name: str, layer: bool, opaque: bool, module: nn.Module, arguments: tuple, output) -> None:
        if self.path and self.path[-1] == name:
            self.path.pop()
            self.inside -= opaque
        elif not self.path:  # called by itself, and not from inside the model
            self.batch = None
        before, self.before = self.before, {}
        found = tensors_in(output) if layer else []
        if not found or "told" in before:
            return
        if in_backward():
            self._recomputed(name, found)
            return
        if self.batch is None and found[0].dim():
            self.batch = len(found[0])
        if self.full:
            self._note_axis(module, found[0])
            if isinstance(module, nn.RNN) and module.nonlinearity == "tanh":
                before["flat"] = flat_entries(found[0], (-_TANH_FLAT, _TANH_FLAT))
        self.measure(name, type(module).__name__, found, before, arguments)

    def _recomputed(self, name: str, found: list[Tensor]) -> None:
        """A checkpoint runs its layers again: their rows exist, but their gradients may only come now.

        Checkpoints run again from the last to the first, the calls inside each from the first to the last. So a call
        is known by what it computed, not by its place; of calls that computed the same the last is taken.
        """
        if not found[0].requires_grad or not measurable(found[0]):
            return
        waiting = [
            entry
            for entry in self.tape
            if entry.name == name and entry.awaits_gradient and entry.shape == tuple(found[0].shape)
        ]
        size = float(norm(found[0].detach())) if len(waiting) > 1 else nan
        if waiting:
            entry = min(reversed(waiting), key=lambda entry: abs(float(entry.values["norm"]) - size))
            self._await_gradient(entry, found)

    def _source(self, arguments) -> int | None:
        """The place on the tape of the call whose output is the first argument, as it is."""
        given = arguments[0] if arguments else None
        reference, place = self.made.get(id(given), (None, None))
        return place if reference is not None and reference() is given else None

    def join(self, arguments: tuple) -> None:
        """Notes that these outputs go into a sum, a product or a concatenation."""
        for place in map(self._source, zip(tensors_in(arguments))):  # each as the only argument
            if place is not None:
                self.tape[place].joined = True

    def measure(self, name: str, kind: str, found: list[Tensor], before: dict, arguments) -> None:
        """One more entry, about the first of these outputs, measured now: before anything overwrites it."""
        self.calls[name] = call = self.calls.get(name, 0) + 1
        output = found[0]
        entry = Entry(name, call, kind, tuple(output.shape), output.dtype)
        if self.full:
            entry.source = self._source(arguments)
            self.made[id(output)] = weakref.ref(output), len(self.tape)
        self.tape.append(entry)
        if not measurable(output):
            return
        if before:
            entry.values.update((key, value) for key, value in before.items() if isinstance(value, Tensor))
            entry.time = before.get("time", entry.time)  # still empty: its gradient comes later
        h = output.detach()
        entry.values["norm"] = norm(h)
        change = pair_difference(h, self.batch)
        if change is not None:
            entry.values["change"], entry.pairs = norm(change), change.numel()
        if self.full and h.is_floating_point():
            entry.extremes = extremes(h, self.axis_of.get(h.dim(), -1 if h.dim() < 4 else 1))
        self._await_gradient(entry, found)

    def _await_gradient(self, entry: Entry, found: list[Tensor]) -> None:
        wanted = [each for each in found if each.requires_grad and measurable(each)]
        entry.awaits_gradient = not wanted
        for each in wanted:
            self._hook(each, partial(add_gradient, entry.values, self.full))

    def _hook(self, tensor: Tensor, hook) -> None:
        if tensor.is_leaf and tensor._backward_hooks is None:
            self.hooked_leaves.append(tensor)
        self.tensor_handles.append(tensor.register_hook(unseen(hook)))
