"""Where NaN and infinity begin: the first bad operation, forward or backward, its place in the code, and its inputs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import inf, isinf, nan
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..borrowing import reseed
from ..containers import tensors_in
from ..recording.modules import in_backward, named_modules
from .look import gradients_of
from .subject import Subject, fresh_inputs, passed

_NO_LABEL = (
    "the mean over no label is 0/0: where every target is ignored skip the batch, or reduction='sum' over max(count, 1)"
)
# The usual formula behind a bad number, by the name of the operation that made it.
FORMULAS = {
    "sqrt": "√x has an infinite slope at 0; write torch.sqrt(x + eps), the eps inside the root",
    "norm": "a norm has no slope at 0; write (x.square().sum(-1) + eps).sqrt()",
    "dist": "a distance has no slope at 0; write (difference.square().sum(-1) + eps).sqrt()",
    "std": "a standard deviation has an infinite slope where all entries are equal; take (x.var(-1, correction=0) + eps).sqrt(), which is finite for a single entry too",
    "softmax": "a softmax over nothing but -inf is 0/0; mask with torch.finfo(x.dtype).min, or skip fully masked rows",
    "attention": "attention over nothing but masked keys is 0/0; leave one key unmasked, or skip fully masked rows",
    "logsumexp": "logsumexp over nothing but -inf has no gradient; mask with torch.finfo(x.dtype).min",
    "binary_cross_entropy": "",  # of which nothing is known
    "cross_entropy": _NO_LABEL,
    "nll_loss": _NO_LABEL,
    "ctc_loss": "ctc_loss is infinite where an input has fewer steps than its target, with one more for each repetition: drop "
    "such samples, or zero_infinity=True",
    "log": "log 0 is -inf; take log_softmax or logsigmoid of the logits, log1p, or clamp the argument",
    "exp": "exp overflows above 88.7 in float32 (11.1 in float16); subtract the largest exponent first",
    "pow": "x ** p with p < 1 has an infinite slope at 0, and large powers overflow; clamp x away from 0",
    "div": "0/0 or x/0; write x / (y + eps), or choose a safe y before torch.where",
    "rsqrt": "1/√0 is infinite; write torch.rsqrt(x + eps)",
    "reciprocal": "1/0 is infinite; add eps to the denominator",
    "acos": "acos and asin have infinite slopes at ±1; clamp to ±(1 - 1e-6)",
    "asin": "acos and asin have infinite slopes at ±1; clamp to ±(1 - 1e-6)",
    "where": "torch.where passes 0 times the gradient of the branch not taken; make that branch's argument safe first",
    "mul": "0 · inf is NaN; mask with torch.where or masked_fill instead of multiplying",
}
_OURS, _TORCH = Path(__file__).parent.parent, Path(torch.__file__).parent


@dataclass(frozen=True)
class Origin:
    """One operation: what it is, where it stands, and what went in and came out."""

    operation: str
    layer: str  # the module that was being called
    place: str  # file:line of the user's code, or empty
    direction: str  # "forward" or "backward"
    clean_inputs: bool  # whether all that went in was finite
    makes_nan: bool
    dtype: torch.dtype | None
    largest_input: float  # largest finite entry that went in
    masked: bool = False  # whether an infinity was asked for by name
    zero_gradient: bool = False  # backward: whether a gradient of 0 met an infinite slope

    @property
    def formula(self) -> str:
        """The usual mistake in an operation of this name, or an empty string."""
        name = self.operation.lower()
        return next((text for key, text in FORMULAS.items() if key in name), "")


def forward_origin(subject: Subject) -> Origin | None:
    """The operation of the forward pass or the loss that made the first number that cannot be undone; None if none."""
    with _watched(subject.model) as operations, torch.no_grad():
        outputs = passed(subject)
        with suppress(ValueError):  # it may refuse the very NaN that is looked for
            subject.loss_of(outputs)
    return _culprit(operations.bad)


def backward_origin(subject: Subject) -> Origin | None:
    """The first operation whose backward pass turned finite gradients into infinite ones or NaN; None if none did."""
    with _watched(subject.model) as operations:
        reseed(subject.model)
        leaves, inputs, keywords = fresh_inputs(subject)
        loss = subject.loss_of(subject.forward(inputs, keywords))
    found: list[Origin] = []
    handles = [
        node.register_hook(_node_watch(node, known, found)) for node, known in _graph(loss.grad_fn, operations.makers)
    ]
    try:
        gradients_of(subject, loss, [*(each for each in subject.model.parameters() if each.requires_grad), *leaves])
    finally:
        for handle in handles:
            handle.remove()
    return next((each for each in found if each.clean_inputs), found[0] if found else None)


def _culprit(bad: list[Origin]) -> Origin | None:
    """The first NaN made of clean numbers; before it, an infinity that nobody asked for."""
    for origin in bad:
        if origin.masked and not origin.makes_nan:
            continue
        if origin.clean_inputs or origin.makes_nan:
            return origin
    return None


class _Operations(TorchFunctionMode):
    """Notes every operation that makes a number that is not finite, and which operation made which node."""

    def __init__(self):
        super().__init__()
        self.bad: list[Origin] = []
        self.makers: dict[int, tuple] = {}  # id of a node → the node, the operation, the layer, the place
        self.path: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name.startswith("__get") or in_backward():
            return output
        with torch._C.DisableTorchFunction():
            self._note(name, args, kwargs, output)
        return output

    def enter(self, name: str, *_) -> None:
        self.path.append(name)

    def _note(self, name: str, args, kwargs, output) -> None:
        outputs = [each for each in tensors_in(output) if each.is_floating_point() and each.numel()]
        if not outputs:
            return
        layer, place = (self.path[-1] if self.path else ""), None
        for each in outputs:
            if each.grad_fn is not None:
                place = place or _place()
                self.makers.setdefault(id(each.grad_fn), (each.grad_fn, name, layer, place))
        made_nan = any(bool(each.isnan().any()) for each in outputs)
        if not made_nan and all(bool(each.isfinite().all()) for each in outputs):
            return
        inputs = [each for each in tensors_in((args, kwargs or {})) if each.is_floating_point() and each.numel()]
        before = [each for each in inputs if not any(each is mine for mine in outputs)]
        largest = max((_largest_finite(each) for each in before), default=nan)
        self.bad.append(
            Origin(
                name,
                layer,
                place or _place(),
                "forward",
                all(bool(each.isfinite().all()) for each in before),
                made_nan and not any(bool(each.isnan().any()) for each in before),
                outputs[0].dtype,
                largest,
                masked=_asks_for_infinity(args, kwargs or {}),
            )
        )


@contextmanager
def _watched(model: nn.Module) -> Iterator[_Operations]:
    operations, handles = _Operations(), []

    def leave(*_) -> None:
        if operations.path:
            operations.path.pop()

    try:
        for name, module in named_modules(model):
            handles.append(module.register_forward_pre_hook(partial(operations.enter, name)))
            handles.append(module.register_forward_hook(leave, always_call=True))
        with operations:
            yield operations
    finally:
        for handle in handles:
            handle.remove()


def _graph(root, makers: dict[int, tuple]) -> list[tuple]:
    """Every node behind the loss, with what is known of its maker; inner nodes share what their consumer's has."""
    seen, waiting, found = set(), [(root, ("", "", ""))], []
    while waiting:
        node, known = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        known = makers[id(node)][1:] if id(node) in makers else known
        if "AccumulateGrad" not in node.name():
            found.append((node, known))
        waiting += [(each, known) for each, _ in node.next_functions]
    return found


def _node_watch(node, known: tuple, found: list[Origin]):
    operation, layer, place = known
    name = operation or node.name()

    def watch(into, out_of) -> None:
        made = [each for each in into if isinstance(each, Tensor)]
        given = [each for each in out_of if isinstance(each, Tensor)]
        if all(bool(each.isfinite().all()) for each in made):
            return
        clean = all(bool(each.isfinite().all()) for each in given)
        makes_nan = any(bool(each.isnan().any()) for each in made)
        zero = any(not bool(each.all()) for each in given)
        largest = max((_largest_finite(each) for each in given), default=nan)
        label = f"{name} ({node.name()})" if operation else name
        found.append(Origin(label, layer, place, "backward", clean, makes_nan, made[0].dtype, largest, False, zero))

    return watch


def _largest_finite(tensor: Tensor) -> float:
    finite = tensor.detach()[tensor.detach().isfinite()]
    return float(finite.abs().max()) if finite.numel() else nan


def _asks_for_infinity(args, kwargs) -> bool:
    return any(isinstance(each, float) and isinf(each) for each in (*args, *kwargs.values())) or any(
        each.dim() == 0 and float(each) in (inf, -inf)
        for each in tensors_in((args, kwargs))
        if each.is_floating_point()
    )


def _place() -> str:
    """file:line, or the line of a cell, of the innermost frame that is neither torch's nor this package's."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if _OURS not in path.parents and _TORCH not in path.parents:
            # A notebook gives each cell a file, named after a hash of its source.
            cell = "ipykernel" in path.parent.name
            return f"line {frame.f_lineno} of a cell" if cell else f"{path.name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
