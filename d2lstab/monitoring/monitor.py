"""Watch a training loop: a few statistics of every layer, now and then, and a word when something goes wrong."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from math import nan
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..arguments import whole_numbers
from ..diagnosis import Diagnosis, diagnose
from ..recording.modules import eager, named_modules
from ..signatures import checked
from .calls import exchanged
from .facts import facts_of, groups_of
from .graph import suspicious_formula
from .kept import KeptBatch
from .onsets import Onset, Vigil, findings_in
from .selection import Selection, selected
from .signals import Record, TrainingSignals, numbers_of, record_of, signals_of
from .steps import StepRecorder
from .trends import trends_in
from .weights import Weights, named_parameters

if TYPE_CHECKING:
    from typing_extensions import Self


class Monitor:
    """A context in which every k-th training step leaves a record of all layer calls and all weights.

    Call `.step(loss)` once after each step of the optimizer; `.signals` are the TrainingSignals so far. Recorded
    are step 1 and every `every`-th after it; in the steps between, no hook is attached. Passes without gradients,
    such as an evaluation, are not recorded; several passes in one step (accumulated gradients) make one record.
    Where a block does not fit, `.start()` and `.stop()` begin and end the watch.
    optimizer: the one whose steps are measured; it need not own all parameters. Without it, weights are compared
    between two calls of `.step()`. histograms=True adds the distribution of every output. tell: called with each
    Onset, a fault that begins; None for silence. log: called with the step and a flat dict of numbers after each
    record, under names such as "ratio/layer1"; what it raises is told once, as a warning. layers: the modules to
    watch, each with all inside it, as paths, patterns with *, or a function of path and module; rows and weights of
    others are not measured. most: records that are kept; when there are more, every second one is dropped and `every`
    doubles. A record holds 7 numbers per layer call and 3 per parameter, and 64 more per call
    with histograms; while a step is recorded, the weights are held twice.
    A model wrapped in DistributedDataParallel is measured over the batches of all processes, with one exchange per
    record; all of them hold the same signals, and the first one tells. Rows say nothing of other processes' NaN
    until the exchange. Training itself is left alone, whatever is recorded.
    Raises TypeError and ValueError for a model or optimizer that is none, an optimizer of another model,
    every < 1, or layers that fit no module.

    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with Monitor(model, optimizer=optimizer, every=10) as monitor:
    ...     for _ in range(30):
    ...         loss = model(torch.ones(8, 2)).square().mean()
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         optimizer.step()
    ...         monitor.step(loss)
    >>> monitor.signals.steps
    tensor([ 1, 11, 21])
    >>> ax = monitor.signals.plot()
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        every: int = 100,
        histograms: bool = False,
        tell: Callable[[Onset], None] | None = print,
        log: Callable[[int, dict[str, float]], object] | None = None,
        layers: Selection | None = None,
        most: int = 1000,
    ):
        check_kinds(model, optimizer)
        if log is not None and not callable(log):
            raise TypeError(
                f"log={log!r} of type {type(log).__name__}\nexpected a function of the step and a dict of numbers"
            )
        self.every: int = whole_numbers(every=every)[0]
        self.most: int = whole_numbers(at_least=2, most=most)[0]
        self.model: nn.Module = model
        self.optimizer: torch.optim.Optimizer | None = optimizer
        self.histograms: bool = histograms
        self.steps: int = 0  # that were made
        self.records: list[Record] = []
        self.kept: KeptBatch | None = None  # that with which infinities began
        self.layers: Selection | None = layers
        self._modules = dict(named_modules(model))
        self._selected = selected(self._modules, layers)
        self._vigil = Vigil(tell)
        self._log = log
        self._log_failed = False
        self.share(group_of(model))
        self._inside = False
        self._recorder: StepRecorder | None = None  # stays for the next step if that is recorded too
        self._weights: Weights | None = None
        self._step = ExitStack()  # what ends with the step that is being recorded

    def __enter__(self) -> "Self":
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> "Self":
        """Begins to watch, as `with` does, and returns the monitor. Raises RuntimeError if it already watches."""
        if self._inside:
            raise RuntimeError(
                "this Monitor is already in use\nexpected one `with` block at a time, or stop() before start()"
            )
        self._modules = dict(named_modules(self.model))
        self._selected = selected(self._modules, self.layers)
        self._inside = True
        with ExitStack() as otherwise:
            otherwise.callback(self._look_away)
            self._watch_if_due()
            otherwise.pop_all()
        return self

    def share(self, group: Any) -> None:
        """From now on records are of the batches of all processes of a group of torch.distributed; the first tells.

        A model wrapped in DistributedDataParallel, or sharded by `fully_shard`, brings its own.
        """
        self._group = group
        if group is not None and dist.get_rank(group) != 0:
            self._log = self._vigil.tell = None

    def stop(self) -> None:
        """Ends the watch, as leaving a `with` block does: nothing of it stays at the model. A second time is harmless."""
        self._inside = False
        self._look_away()

    def step(self, loss: Tensor | float | None = None, *, scale: float = 1.0) -> None:
        """Says that a training step was made, with this loss: a scalar, without which gradients are not judged.

        scale: by how much the loss was multiplied before backward(), such as scaler.get_scale() before its update().
        Raises RuntimeError outside the `with` block, and ValueError where the model is not what it was: modules came
        or went, or none was called in a recorded step.
        """
        if not self._inside:
            raise RuntimeError(
                "Monitor.step() outside of its `with` block\n"
                "expected `with Monitor(model) as monitor:` around the loop, or start() before it"
            )
        self.steps += 1
        if not self.recording and self.steps % self.every:
            return
        with ExitStack() as otherwise:
            otherwise.callback(self._look_away)
            if self._recorder is not None and self._weights is not None:
                self._record(self._recorder, self._weights, loss, scale)
            self._watch_if_due()
            otherwise.pop_all()

    def diagnose(self, targets: Any = None, loss: Callable[..., Tensor] | None = None) -> Diagnosis:
        """The diagnosis of the batch with which infinities began, with the weights of then; the model stays as it is.

        targets, loss: those of that batch, as `diagnose` takes them. The batch is what the model was given in the
        recorded step, held without a copy, up to 256 MiB. Raises RuntimeError where none was kept.
        """
        if self.kept is None:
            raise RuntimeError("no batch was kept\nexpected a step that was recorded and had infinities or NaN")
        inputs = self.kept.keywords if self.kept.keywords and not self.kept.arguments else self.kept.arguments
        with self.kept.weights_of_then(named_parameters(self._selected)):
            return diagnose(self.model, inputs, targets, loss)

    @property
    def signals(self) -> TrainingSignals:
        """What was recorded so far."""
        return signals_of(self.records, tuple(self._vigil.onsets))

    @property
    def recording(self) -> bool:
        """Whether the step that is being made will leave a record."""
        return self._recorder is not None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on recording: plain values and tensors."""
        return {"steps": self.steps, "every": self.every, "records": list(self.records), **self._vigil.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the count of steps and the records of an earlier run, whose `state_dict` the state is."""
        self.steps, self.every, self.records = state["steps"], state["every"], list(state["records"])
        self._vigil.load_state_dict(state)
        if self._inside:
            self._look_away()
            self._watch_if_due()

    def _watch_if_due(self) -> None:
        if self.steps % self.every:
            self._look_away()
            return
        self._check_modules()
        if self._recorder is None:
            chosen = None if self.layers is None else self._selected
            self._recorder = StepRecorder(histograms=self.histograms, chosen=chosen)
            self._recorder.watch(self.model, None)
        self._weights = Weights(self._selected, self.optimizer, self._weights.copies if self._weights else ())
        self._recorder.begin(probed(self._weights.parameters, self.optimizer))
        self._step.callback(self._weights.forget)
        self._step.enter_context(eager())

    def _look_away(self) -> None:
        self._step.close()
        if self._recorder is not None:
            self._recorder.close()
        self._recorder = self._weights = None

    def _record(self, recorder: StepRecorder, weights: Weights, loss: Tensor | float | None, scale: float) -> None:
        weights.done()
        self._step.close()
        given, loss = loss, float(loss.detach()) if isinstance(loss, Tensor) else loss
        calls, attention = recorder.found(), recorder.attention()
        backward = recorder.backward(scale)
        if self._group is not None:
            calls, attention, loss = exchanged(calls, attention, loss, self._group)
            scale *= dist.get_world_size(self._group)  # each process had the gradient of its own loss, not of the mean
        calls = {label: each.with_gradients_over(scale) for label, each in calls.items()}
        if not calls:
            raise ValueError(
                f"no layer of this {type(self.model).__name__} was called with gradients in step {self.steps}\n"
                "expected the model that is being trained: one made anew needs a Monitor of its own"
            )
        names, norms = list(weights.parameters), weights.norms
        weighed = dict(zip(names, zip(norms[0], norms[2]))) if weights.stepped else None
        found = findings_in(
            self.model,
            list(calls.values()),
            loss,
            weighed,
            known=self._vigil.known,
            formula=suspicious_formula(given),
            step=self.steps,
        )
        if self.kept is None and any(each.fault.startswith("non_finite") for each in found):
            self.kept = recorder.kept(self.steps, weights.before)
        facts = facts_of(
            calls, names, norms, backward, noise=recorder.noise, outermost=recorder.outermost,
            groups=groups_of(self.optimizer, weights.parameters, norms),
        )  # fmt: skip
        record = record_of(self.steps, nan if loss is None else loss, calls, names, norms)
        record |= {"facts": facts, "attention": attention}
        found += trends_in([*self.records, record], self._vigil.known | {each.fault for each in found})
        self._vigil.look(self.steps, found)
        self.records.append(record)
        self._send(self.records[-1])
        if len(self.records) > self.most:
            self.every *= 2
            self.records = [each for each in self.records if (each["step"] - 1) % self.every == 0]

    def _send(self, record: Record) -> None:
        """Gives the record's numbers to the logger, whose failure is not that of training."""
        if self._log is None:
            return
        try:
            self._log(record["step"], numbers_of(record))
        except Exception as error:  # noqa: BLE001  whatever a logger raises
            if not self._log_failed:
                self._log_failed = True
                warnings.warn(
                    f"log= raised {type(error).__name__} in step {record['step']}: {error}\ntraining goes on, and so "
                    "does the record; the logger is called again at the next one, and not complained about again",
                    stacklevel=4,
                )

    def _check_modules(self) -> None:
        now = dict(named_modules(self.model))
        if now == self._modules:
            return
        changed = [name or "the model" for name in {**now, **self._modules} if now.get(name) != self._modules.get(name)]
        raise ValueError(
            f"{type(self.model).__name__} changed while it was watched: {', '.join(changed[:5])}\n"
            "expected the same modules throughout; begin a new Monitor after such a change"
        )


def group_of(model: nn.Module) -> Any:
    """The processes that share a model: in DistributedDataParallel or sharded by `fully_shard`; None for no others."""
    if isinstance(model, DistributedDataParallel):
        return model.process_group
    mesh = next((mesh for each in model.parameters() if (mesh := getattr(each, "device_mesh", None)) is not None), None)
    return None if mesh is None else mesh.get_group() if mesh.ndim == 1 else dist.group.WORLD


def probed(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer | None) -> list[nn.Parameter]:
    """The first, the middle and the last of the parameters that are stepped: of those gradients are looked at before."""
    stepped = list(parameters.values())
    if optimizer is not None:
        its = {id(each) for group in optimizer.param_groups for each in group["params"]}
        stepped = [each for each in stepped if id(each) in its]
    return [stepped[place] for place in sorted({0, len(stepped) // 2, len(stepped) - 1})] if stepped else []


def check_kinds(model: Any, optimizer: Any) -> None:
    """Raises TypeError and ValueError as `Monitor` says."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={model!r} of type {type(model).__name__}\nexpected a torch.nn.Module")
    if optimizer is None:
        return
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer={optimizer!r} of type {type(optimizer).__name__}\nexpected a torch.optim.Optimizer")
    its = {id(each) for group in optimizer.param_groups for each in group["params"]}
    if not its & {id(each) for each in model.parameters()}:
        raise ValueError(
            f"{type(optimizer).__name__} holds no parameter of this {type(model).__name__}\n"
            "expected the optimizer of this model, made after the model was moved or copied"
        )
