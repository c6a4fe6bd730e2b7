"""What is looked at: a model with a batch, checked, and a loss that fits it."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence

from ..borrowing import borrowed, random_streams, reseed, unwrapped
from ..containers import each_tensor, tensors_in
from ..randomness import seeded

Loss = Callable[..., Tensor]


@dataclass
class Subject:
    """A model and a batch; the model is borrowed for as long as this is used."""

    model: nn.Module
    inputs: tuple[Any, ...]
    keywords: dict[str, Any]
    targets: Any
    loss: Loss | None
    optimizer: torch.optim.Optimizer | None = None
    originals: tuple[nn.Parameter, ...] = ()  # the parameters as the caller has them, in order: never written to
    whole_backward: bool = False  # whether only .backward() works: checkpoints of the reentrant kind refuse the rest
    own_leaves: bool = False  # whether the model asks for gradients of its inputs itself, which must be leaves then

    def forward(self, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        return self.model(*inputs, **keywords)

    def adapts(self, error: Exception) -> bool:
        """Whether the model refused the way it was run, and is to be run in another from now on."""
        told = str(error)
        if "use_reentrant" in told and not self.whole_backward:
            self.whole_backward = True
            return True
        if "leaf variables" in told and not self.own_leaves:
            self.own_leaves = True
            return True
        return False

    def loss_of(self, outputs: Any) -> Tensor:
        """The user's loss, or a probe's where there is none. Raises ValueError for what cannot be differentiated."""
        if self.loss is None:
            return probe_loss(outputs)
        try:
            loss = self.loss(outputs) if self.targets is None else self.loss(outputs, self.targets)
        except Exception as error:
            given = f"the loss fails on outputs {_told(outputs)}"
            if self.targets is None:
                expected = "a loss of the outputs alone, loss(outputs), or targets for loss(outputs, targets)"
            else:
                given += f" and targets {_told(self.targets)}"
                expected = "targets that it takes: class numbers as torch.long, or floats of the shape of the outputs"
            raise ValueError(f"{given}: {error}\nexpected {expected}") from error
        return loss

    def checked_loss(self, outputs: Any) -> Tensor:
        """`loss_of`, or ValueError for what is no scalar that depends on a parameter."""
        loss = self.loss_of(outputs)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ValueError(f"loss(outputs, targets) returned {_told(loss)}\nexpected a scalar tensor: loss.mean()")
        if not loss.requires_grad:
            raise ValueError(
                f"the loss, {float(loss.detach()):.4g}, depends on no parameter that requires grad\n"
                "expected outputs that were not detached, and no torch.no_grad inside the model or the loss"
            )
        return loss

    @torch.no_grad()
    def restore(self) -> None:
        """Puts the values of the originals back into the borrowed parameters."""
        for original, private in zip(self.originals, self.model.parameters()):
            private.copy_(original)
            private.grad = None

    @property
    def held(self) -> set[int]:
        """The ids of the parameters, as the caller has them, that the optimizer holds."""
        groups = self.optimizer.param_groups if self.optimizer is not None else []
        return {id(each) for group in groups for each in group["params"]} & set(map(id, self.originals))

    @property
    def batch(self) -> int | None:
        """The number of samples: the length of the first input, of a list of them, or of a packed sequence's batch."""
        waiting: list[Any] = [*self.inputs, *self.keywords.values()]
        targets = len(self.targets) if isinstance(self.targets, Tensor) and self.targets.dim() else None
        while waiting:
            first, *waiting = waiting
            if isinstance(first, PackedSequence):
                return int(first.batch_sizes[0])
            if isinstance(first, Tensor) and first.dim():
                return len(first)
            held = tensors_in(first)
            if isinstance(first, (list, tuple)) and len(first) == len(held) == targets:
                return targets
            waiting = [*([] if isinstance(first, Tensor) else held), *waiting]
        return None


def subject_of(
    model: nn.Module, inputs: Any, targets: Any, loss: Loss | None, optimizer: torch.optim.Optimizer | None
) -> Subject:
    """The subject of a diagnosis. Raises TypeError and ValueError as `diagnose` says."""
    _check_kinds(model, loss, optimizer)
    model = unwrapped(model)
    # A named tuple, such as a packed sequence, is one argument.
    arguments = inputs if type(inputs) is tuple else () if isinstance(inputs, Mapping) else (inputs,)
    keywords = dict(inputs) if isinstance(inputs, Mapping) else {}
    _check_tensors(model, tensors_in((arguments, keywords)), tensors_in(targets))
    if any(is_lazy(each) for each in (*model.parameters(), *model.buffers())):
        model = _made(model, arguments, keywords)
    parameters = list(model.parameters())
    if not any(each.requires_grad for each in parameters):
        what = "no parameter requires grad" if parameters else "it has no parameters"
        raise ValueError(f"{type(model).__name__} cannot be trained: {what}\nexpected at least one that does")
    subject = Subject(model, arguments, keywords, targets, loss, optimizer, tuple(parameters))
    if loss is None and targets is not None:
        with borrowed(model):
            subject.loss = default_loss(outputs_of(subject), targets)
    return subject


def _check_kinds(model, loss, optimizer) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={model!r} of type {type(model).__name__}\nexpected a torch.nn.Module")
    if isinstance(model, getattr(torch.jit, "ScriptModule", ())):  # torch.jit is on its way out
        raise TypeError(
            f"model is a {type(model).__name__}, compiled by torch.jit\nexpected the module it was made from"
        )
    if loss is not None and not callable(loss):
        raise TypeError(f"loss={loss!r} of type {type(loss).__name__}\nexpected a function of outputs and targets")
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer={optimizer!r} of type {type(optimizer).__name__}\nexpected a torch.optim.Optimizer")


def _check_tensors(model: nn.Module, inputs: list[Tensor], targets: list[Tensor]) -> None:
    if not inputs:
        raise ValueError("inputs hold no tensor\nexpected a batch as the model takes it: a tensor, a tuple or a dict")
    if any(each.numel() == 0 for each in inputs):
        raise ValueError(
            f"inputs of shape {', '.join(str(tuple(each.shape)) for each in inputs)}\nexpected at least one sample"
        )
    here = {each.device for each in model.parameters()}
    there = {each.device for each in (*inputs, *targets) if each.dim()}
    if here and there - here:
        raise ValueError(
            f"the model is on {', '.join(map(str, here))}, inputs and targets on {', '.join(map(str, there))}\n"
            f"expected one device: inputs.to({str(next(iter(here)))!r})"
        )


def _made(model: nn.Module, inputs: tuple, keywords: dict) -> nn.Module:
    """A copy of a model with lazy layers, which this batch has given their shapes."""
    with random_streams(list(model.modules())), torch.no_grad():
        reseed(model)
        copy = deepcopy(model)
        copy(*inputs, **keywords)
    return copy


def outputs_of(subject: Subject) -> Any:
    """The outputs of one forward pass without gradients."""
    try:
        with torch.no_grad():
            return passed(subject)
    except RuntimeError as error:
        if not subject.adapts(error):
            raise
    return outputs_of(subject)


def passed(subject: Subject, change: Callable[[Tensor], Tensor] = Tensor.clone, *, seed: int = 0) -> Any:
    """The outputs of a pass that draws the random numbers of every other; change: what is made of each input first."""
    reseed(subject.model, seed)
    _, inputs, keywords = fresh_inputs(subject)
    return subject.forward(each_tensor(change, inputs), each_tensor(change, keywords))


def floating(thing: Any) -> Tensor | None:
    """The first floating tensor with axes in whatever holds it, or else the first without, cut from its graph."""
    found = [each.detach() for each in tensors_in(thing) if each.is_floating_point()]
    return next((each for each in found if each.dim()), found[0] if found else None)


def fresh_inputs(subject: Subject) -> tuple[list[Tensor], tuple[Any, ...], dict[str, Any]]:
    """Copies of the inputs that the model may overwrite, and the leaves whose gradients tell what it depends on."""
    leaves = []

    def fresh(tensor: Tensor) -> Tensor:
        made = tensor.detach().clone()
        if not made.is_floating_point() or subject.own_leaves:
            return made
        if subject.whole_backward and not tensor.requires_grad:
            return made  # with a gradient of its own, it would let others through a reentrant checkpoint
        leaves.append(made.requires_grad_())
        return made.clone()  # a leaf could not be overwritten

    inputs, keywords = each_tensor(fresh, (subject.inputs, subject.keywords))
    return leaves, inputs, keywords


def probe_loss(outputs: Any) -> Tensor:
    """A loss for outputs of which nothing is known: a fixed random combination of all of them, of size about 1."""
    generator = seeded(0)
    found = [each for each in tensors_in(outputs) if each.is_floating_point() and each.requires_grad]
    total: Any = 0.0
    for each in found:
        signs = (
            torch.randint(0, 2, each.shape, generator=generator, device="cpu").to(each.device, torch.float32) * 2 - 1
        )
        total = total + (each.float() * signs).sum() / each.numel() ** 0.5
    return total


def default_loss(outputs: Any, targets: Any) -> Loss:
    """Cross-entropy for classes, the squared error for numbers. Raises ValueError where neither fits."""
    output = floating(outputs)
    if output is not None and isinstance(targets, Tensor):
        if not targets.is_floating_point() and targets.shape == output.shape[:-1]:
            return lambda out, t: F.cross_entropy(_first(out).flatten(0, -2), t.flatten().long())
        if not targets.is_floating_point() and output.dim() > 2 and targets.shape == output[:, 0].shape:
            return lambda out, t: F.cross_entropy(_first(out), t.long())
        if targets.shape == output.shape:
            return lambda out, t: F.mse_loss(_first(out), t.to(output.dtype))
    raise ValueError(
        f"no loss given, outputs are {_told(outputs)} and targets {_told(targets)}\n"
        "expected loss=, a function of outputs and targets"
    )


def _first(outputs) -> Tensor:
    return next(each for each in tensors_in(outputs) if each.is_floating_point())


def _told(thing) -> str:
    found = tensors_in(thing)
    shapes = ", ".join(f"{str(each.dtype).removeprefix('torch.')} {tuple(each.shape)}" for each in found)
    return f"({shapes})" if found else repr(thing)[:80]
