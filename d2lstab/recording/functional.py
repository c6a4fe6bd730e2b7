"""The activations that are recorded: torch's modules, and the functions they are named after."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..containers import tensors_in
from .modules import in_backward
from .statistics import flat_entries, live_range

# Zero on half the line, or steps: their zeros are sparsity and death, never saturation.
RECTIFIERS = {nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Threshold, nn.Hardshrink, nn.Softshrink}
BENDING = {
    nn.Sigmoid: torch.sigmoid,
    nn.Tanh: torch.tanh,
    nn.Hardtanh: F.hardtanh,
    nn.Hardsigmoid: F.hardsigmoid,
    nn.Softsign: F.softsign,
    nn.GELU: F.gelu,
    nn.SiLU: F.silu,
    nn.Mish: F.mish,
    nn.Hardswish: F.hardswish,
    nn.ELU: F.elu,
    nn.CELU: F.celu,
    nn.SELU: F.selu,
    nn.Softplus: F.softplus,
    nn.LogSigmoid: F.logsigmoid,
}
_NAMES = {
    nn.ReLU: (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    nn.ReLU6: (F.relu6,),
    nn.LeakyReLU: (F.leaky_relu,),
    nn.Sigmoid: (torch.sigmoid, Tensor.sigmoid, Tensor.sigmoid_, F.sigmoid, torch.special.expit),
    nn.Tanh: (torch.tanh, Tensor.tanh, Tensor.tanh_, F.tanh),
    nn.Softmax: (F.softmax, torch.softmax, Tensor.softmax),
    nn.LogSoftmax: (F.log_softmax, torch.log_softmax, Tensor.log_softmax),
    **{kind: (f,) for kind, f in BENDING.items() if kind not in (nn.Sigmoid, nn.Tanh)},
}
# What a call of each of these functions does: the class of the module that does the same.
FUNCTIONS = {f: kind for kind, functions in _NAMES.items() for f in functions}
# What branches meet in: an output that also goes into one of these has a gradient from there as well.
JOINS = {torch.add, torch.sub, torch.mul, torch.div, torch.cat, torch.concat, torch.stack}
JOINS |= {getattr(Tensor, name + end) for name in ("add", "sub", "mul", "div") for end in ("", "_")}


@cache
def limits_of(kind: type) -> tuple[float, float] | None:
    """The inputs between which an activation of this class is not saturated; None for classes that never are."""
    return live_range(BENDING[kind]) if kind in BENDING else None


class FunctionCalls(TorchFunctionMode):
    """Sees the activations that are called as functions, outside of torch's own layers."""

    def __init__(self, recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kind, recorder = FUNCTIONS.get(func), self.recorder
        if recorder.full and func in JOINS:
            with torch._C.DisableTorchFunction():
                recorder.join(args)
        if kind is None or recorder.inside or not recorder.path or in_backward() or not recorder.watching:
            return func(*args, **(kwargs or {}))
        before = {}
        if recorder.full:
            with torch._C.DisableTorchFunction():
                inputs = tensors_in((args, kwargs or {}))
                before["flat"] = flat_entries(inputs[0], limits_of(kind))
        recorder.inside += 1  # F.relu calls torch.relu
        try:
            output = func(*args, **(kwargs or {}))
        finally:
            recorder.inside -= 1
        if isinstance(output, Tensor):
            with torch._C.DisableTorchFunction():
                path = f"{recorder.path[-1]}." if recorder.path[-1] else ""
                recorder.measure(f"{path}{func.__name__}()", kind.__name__, [output], before, args)
        return output


def unseen(hook):
    """The hook, its own tensor operations hidden from every TorchFunctionMode: ours would slow it down fivefold."""

    def called(*arguments) -> None:
        with torch._C.DisableTorchFunction():
            hook(*arguments)

    return called
