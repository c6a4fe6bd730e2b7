"""How far one training step moves each weight."""

from collections.abc import Sequence
from math import nan

import torch
from torch import Tensor, nn

from ..recording.modules import named_modules
from ..recording.statistics import WIDE, norm


class Weights:
    """The norms of every trained parameter, of its gradient and of its update, over one step.

    With an optimizer they are taken around its step, gradients as they are right after it: clipped and unscaled.
    Without one, from here on until `done`. copies: those of an earlier step, to be written anew.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None, copies: Sequence[Tensor] = ()):
        self.parameters = named_parameters(model)
        self.handles, self.copies = [], list(copies)
        self.norms = torch.full((3, len(self.parameters)), nan, dtype=torch.float64)  # gradient, update, weight
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
        now = [each.detach() for each in self.parameters.values()]
        if list(map(_form, now)) == list(map(_form, self.copies)):
            for copy, each in zip(self.copies, now):
                copy.copy_(each)  # new memory would cost several times as much
        else:
            self.copies = [each.clone() for each in now]
        self.norms[2] = norms(self.copies)
        self.stepping = True

    @torch.no_grad()
    def _end(self) -> None:
        self.norms[0] = norms([each.grad for each in self.parameters.values()])
        for then, now in zip(self.copies, self.parameters.values()):
            then.sub_(now)
        self.norms[1] = norms(self.copies)
        self.stepping, self.stepped = False, True


def _form(tensor: Tensor) -> tuple:
    return tensor.shape, tensor.dtype, tensor.device


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by their names, without what wrappers add, each once."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for path, module in named_modules(model):
        for key, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad:
                found.setdefault(id(parameter), (f"{path}.{key}" if path else key, parameter))
    return dict(found.values())


def norms(tensors: Sequence[Tensor | None]) -> Tensor:
    """The norm of each tensor in float64 on the CPU, NaN for None."""
    alike: dict[tuple, list[int]] = {}
    for place, each in enumerate(tensors):
        if each is not None:
            alike.setdefault((each.device, each.dtype, each.layout), []).append(place)
    answer = torch.full((len(tensors),), nan, dtype=torch.float64)
    for (_, dtype, layout), places in alike.items():
        here = [each for place in places if (each := tensors[place]) is not None]
        if dtype in WIDE and layout is torch.strided:
            # As torch's own clip_grad_norm_ does: one call for all of them.
            found = torch._foreach_norm(here)  # pyright: ignore[reportPrivateImportUsage]
        else:
            found = [norm(_dense(each)) for each in here]
        quick = torch.stack(tuple(found)).cpu().to(torch.float64)
        # Where a square may have been too large or too small for float32, a second, slower look.
        for index in (~((quick > 1e-15) & (quick < 1e15))).nonzero().flatten().tolist():
            quick[index] = float(torch.linalg.vector_norm(_dense(here[index]), dtype=torch.float64))
        answer[places] = quick
    return answer


def _dense(tensor: Tensor) -> Tensor:
    """The entries that may differ from 0, as real numbers."""
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce().values()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
