"""How far one training step moves each weight."""

from collections.abc import Iterable, Iterator
from math import nan

import torch
from torch import Tensor, nn

from ..recording.modules import named_modules
from ..recording.statistics import norm


class Weights:
    """The norms of every trained parameter, of its gradient and of its update, over one step.

    With an optimizer they are taken around its step, gradients as they are right after it: clipped and unscaled.
    Without one, from here on until `done`.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None):
        self.parameters = named_parameters(model)
        self.handles, self.before = [], []
        self.norms = torch.full((3, len(self.parameters)), nan, dtype=torch.float64)  # gradient, update, weight
        self.stepped = False  # a loss scaler may leave a step out
        if optimizer is None:
            self._begin()
        else:
            self.handles = [
                optimizer.register_step_pre_hook(lambda *_: self._begin()),
                optimizer.register_step_post_hook(lambda *_: self._end()),
            ]

    def done(self) -> None:
        """The training step is over: what no hook has measured is measured now."""
        if self.before:
            self._end()
        self.forget()

    def forget(self) -> None:
        """Lets go of the optimizer and of the copies."""
        for handle in self.handles:
            handle.remove()
        self.handles, self.before = [], []

    @torch.no_grad()
    def _begin(self) -> None:
        self.before = []
        self.norms[2] = norms(self._copied())

    def _copied(self) -> Iterator[Tensor]:
        for each in self.parameters.values():
            self.before.append(each.detach().clone())
            yield self.before[-1]

    @torch.no_grad()
    def _end(self) -> None:
        self.norms[0] = norms(each.grad for each in self.parameters.values())
        self.norms[1] = norms(then.sub_(now) for now, then in zip(self.parameters.values(), self.before))
        self.before, self.stepped = [], True


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by their names, without what wrappers add, each once."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for path, module in named_modules(model):
        for key, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad:
                found.setdefault(id(parameter), (f"{path}.{key}" if path else key, parameter))
    return dict(found.values())


def norms(tensors: Iterable[Tensor | None]) -> Tensor:
    """The norm of each tensor in float64 on the CPU, NaN for None; measured as they come, while they are in the cache."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    last = -1
    for place, each in enumerate(tensors):
        if each is not None:
            dense = _dense(each)
            found[place] = dense, norm(dense)
        last = place
    answer = torch.full((last + 1,), nan, dtype=torch.float64)
    if found:
        device = next(iter(found.values()))[1].device
        quick = torch.stack([each.to(device) for _, each in found.values()]).cpu().to(torch.float64)
        answer[list(found)] = quick
    # Where a square may have been too large or too small for float32, a second, slower look.
    for place in (~((answer > 1e-15) & (answer < 1e15))).nonzero().flatten().tolist():
        if place in found:
            answer[place] = float(torch.linalg.vector_norm(found[place][0], dtype=torch.float64))
    return answer


def _dense(tensor: Tensor) -> Tensor:
    """The entries that may differ from 0, as real numbers."""
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce().values()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
