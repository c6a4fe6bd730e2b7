"""A network that is another one in evaluation than it is in training."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..evidence import Evidence
from ..findings import Finding
from ..subject import passed

_MOST_DROPPED = 0.85  # at 0.8 narrow networks still learn in training; what is left of 0.9 is noise
_LAST_BATCH = 0.9  # the momentum, in torch the weight of the new batch, from which on the others do not count
_FAR = 30.0  # variances, and squared means over variances

_Normalization = (nn.modules.batchnorm._NormBase,)


def modes_differ(evidence: Evidence) -> Finding | None:
    """Running statistics that never or only just follow, or are of other inputs; dropout of nearly all, or for ever."""
    return _statistics(evidence) or _dropped(evidence)


def _statistics(evidence: Evidence) -> Finding | None:
    for name, module in evidence.modules.items():
        if not isinstance(module, _Normalization) or module.running_mean is None:
            continue
        momentum = module.momentum
        if module.training and momentum is not None and (momentum == 0 or momentum >= _LAST_BATCH):
            never = momentum == 0
            return Finding(
                "modes_differ",
                name,
                f"with momentum={momentum:g} running statistics "
                + ("stay what they were made, mean 0 and variance 1" if never else "are those of the last batch alone")
                + ", and eval() normalizes with them; 0.1 is usual: the weight of the new batch, not of the old",
                "momentum=0.1, or None for the mean of all batches",
                momentum,
                0.1,
                severity="fault" if never else "warning",
            )
    return _of_other_inputs(evidence)


def _of_other_inputs(evidence: Evidence) -> Finding | None:
    """Running statistics in use, learnt from inputs of another scale."""
    used = {
        name: module
        for name, module in evidence.modules.items()
        if isinstance(module, _Normalization) and not module.training and module.num_batches_tracked
    }
    for name, ratio in _ratios(evidence, used).items():
        if not 1 / _FAR < ratio < _FAR:
            return Finding(
                "modes_differ",
                name,
                f"its inputs are, in square, {ratio:.2g} times as far from the running mean as the running variance says; "
                "about 1 is expected",
                "prepare the inputs as they were prepared when the statistics were taken, or train() until they follow",
                ratio,
                1.0,
                severity="warning",
            )
    return None


def _ratios(evidence: Evidence, modules: dict[str, Any]) -> dict[str, float]:
    """Of each normalization, in order of calls, the median over channels of E (x - mean)² / variance."""
    found: dict[str, float] = {}

    def note(name: str) -> Callable[..., None]:
        def look(module: Any, inputs: tuple, *_) -> None:
            x = inputs[0].detach().double()
            channel = (1, -1) + (1,) * (x.dim() - 2)
            off = x - module.running_mean.double().view(channel)
            axes = [axis for axis in range(x.dim()) if axis != 1]
            ratio = off.square().mean(axes) / (module.running_var.double() + module.eps)
            found.setdefault(name, float(ratio.median()))

        return look

    handles = [module.register_forward_pre_hook(note(name)) for name, module in modules.items()]
    try:
        if handles:
            _pass(evidence)
    finally:
        for handle in handles:
            handle.remove()
    return found


class _Dropouts(TorchFunctionMode):
    """The share that each call of dropout leaves out, where it leaves out any."""

    functions = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)

    def __init__(self):
        super().__init__()
        self.shares: list[float] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        given = dict(zip(("input", "p", "training"), args)) | (kwargs or {})
        if func in self.functions and given.get("training", True):
            self.shares.append(float(given.get("p", 0.5)))
        if func is F.scaled_dot_product_attention:
            share = float(given.get("dropout_p", args[4] if len(args) > 4 else 0.0))
            self.shares += [share] if share > 0 else []
        return func(*args, **(kwargs or {}))


def _dropped(evidence: Evidence) -> Finding | None:
    model = evidence.subject.model
    if model.training and (share := max(_shares(evidence), default=0.0)) > _MOST_DROPPED:
        return Finding(
            "modes_differ",
            next((name for name, each in evidence.modules.items() if getattr(each, "p", None) == share), ""),
            f"dropout leaves out {share:.0%} in training and nothing in evaluation; p is the share that is left out, "
            "and 10 % to 50 % is usual",
            f"p={1 - share:.2g}, if that was the share to be kept",
            share,
            0.5,
            severity="fault" if evidence.trains < 0.5 else "warning",
        )
    modes = [(each, each.training) for each in model.modules()]
    try:
        model.eval()
        share = max(_shares(evidence), default=0.0)
    finally:
        for module, mode in modes:
            module.training = mode
    if not 0 < share < 1:
        return None
    return Finding(
        "modes_differ",
        "",
        f"in evaluation dropout still leaves out {share:.0%}, so that answers are drawn by lot; 0 % is expected",
        "F.dropout(h, p, training=self.training), dropout_p=p if self.training else 0.0, or nn.Dropout",
        share,
        0.0,
        severity="warning",
    )


def _shares(evidence: Evidence) -> list[float]:
    with _Dropouts() as dropouts:
        _pass(evidence)
    return [each for each in dropouts.shares if each > 0]


def _pass(evidence: Evidence) -> None:
    """One pass forward, of which nothing is kept; what it raises in another mode is not the question here."""
    with torch.no_grad(), suppress(Exception):
        passed(evidence.subject)
