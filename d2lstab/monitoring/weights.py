"""How far one training step moves each weight."""
# pyright: reportPrivateImportUsage=false

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import nan

import torch
from torch import Tensor, nn

from ..recording.statistics import WIDE, norm


class Weights:
    """The norms of every trained parameter, of its gradient and of its update, over one step.

    With an optimizer they are taken around its step, gradients as they are right after it: clipped and unscaled.
    Without one, from here on until `done`. copies: those of an earlier step, to be written anew.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer | None,
        copies: Sequence[Tensor] = (),
    ):
        self.parameters = named_parameters(modules)
        self.handles, self.copies = [], list(copies)
        self.norms = [[nan] * len(self.parameters) for _ in ("gradient", "update", "weight")]
        self.stepping, self.stepped = False, False  # a loss scaler may leave a step out
        if optimizer is None:
            self._begin()
        else:
            self.handles = [
                optimizer.register_step_pre_hook(lambda *_: self._begin()),
                optimizer.register_step_post_hook(lambda *_: self._end()),
            ]

    def done(self) -> None:
        """The training step is over: what no hook has measured is measured now."""
        if self.stepping:
            self._end()
        self.forget()

    def forget(self) -> None:
        """Lets go of the optimizer."""
        for handle in self.handles:
            handle.remove()
        self.handles, self.stepping = [], False

    @torch.no_grad()
    def _begin(self) -> None:
        now: list[Tensor] = [*self.parameters.values()]
        if [_form(each) for each in now] == [_form(each) for each in self.copies]:
            if now:  # torch refuses lists without tensors
                torch._foreach_copy_(self.copies, now)  # new memory would cost several times as much
        else:
            self.copies = [each.clone() for each in now]
        self.norms[2] = norms(self.copies)
        self.stepping = True

    @torch.no_grad()
    def _end(self) -> None:
        now: list[Tensor] = [*self.parameters.values()]
        self.norms[0] = norms([each.grad for each in now])
        if now:
            torch._foreach_sub_(self.copies, now)
        self.norms[1] = norms(self.copies)
        self.stepping, self.stepped = False, True


def _form(tensor: Tensor) -> tuple:
    return tensor.shape, tensor.dtype, tensor.device


def named_parameters(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """The trained parameters of these modules by their names, each once."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for path, module in modules.items():
        for key, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad:
                found.setdefault(id(parameter), (f"{path}.{key}" if path else key, parameter))
    return dict(found.values())


def norms(tensors: Sequence[Tensor | None]) -> list[float]:
    """The norm of each tensor, NaN for None; here the host waits for the device."""
    found = [nan] * len(tensors)
    alike: dict[tuple, list[tuple[int, Tensor]]] = defaultdict(list)
    for place, each in enumerate(tensors):
        if each is not None:
            alike[each.device, each.dtype, each.layout].append((place, each))
    for (_, dtype, layout), pairs in alike.items():
        here = [each for _, each in pairs]
        together = dtype in WIDE and layout is torch.strided  # in one call, as torch's own clip_grad_norm_
        quick = torch._foreach_norm(here) if together else [norm(_dense(each)) for each in here]
        for (place, each), number in zip(pairs, torch.stack(tuple(quick)).tolist()):
            # Where a square may have been too large or too small for float32, a second, slower look.
            known = 1e-15 < number < 1e15
            found[place] = number if known else float(torch.linalg.vector_norm(_dense(each), dtype=torch.float64))
    return found


def _dense(tensor: Tensor) -> Tensor:
    """The entries that may differ from 0, as real numbers."""
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce().values()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
