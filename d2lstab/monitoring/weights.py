"""How far one training step moves each weight."""
# pyright: reportPrivateImportUsage=false

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite, nan, sqrt
from typing import Any

import torch
import torch.distributed as dist
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
        self.before: dict[str, Tensor] | None = None  # the weights before a step whose gradients were infinite or NaN
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
        now = self._now()
        if [_form(each) for each in now] == [_form(each) for each in self.copies]:
            if now:  # torch refuses lists without tensors
                torch._foreach_copy_(self.copies, now)  # new memory would cost several times as much
        else:
            self.copies = [each.clone() for each in now]
        self.norms[2] = self._whole(norms(self.copies))
        self.stepping = True

    @torch.no_grad()
    def _end(self) -> None:
        now = self._now()
        self.norms[0] = self._whole(norms([local(each.grad) for each in self.parameters.values()]))
        there = [each.grad is not None for each in self.parameters.values()]
        if self.before is None and any(known and not isfinite(each) for known, each in zip(there, self.norms[0])):
            self.before = dict(zip(self.parameters, map(torch.clone, self.copies)))
        if now:
            torch._foreach_sub_(self.copies, now)
        self.norms[1] = self._whole(norms(self.copies))
        self.stepping, self.stepped = False, True

    def _now(self) -> list[Tensor]:
        """The weights, of sharded ones this process's part."""
        return [each for parameter in self.parameters.values() if (each := local(parameter)) is not None]

    def _whole(self, found: list[float]) -> list[float]:
        """Norms of whole weights from those of their parts, summed up over the processes that hold these."""
        by_group: dict[Any, list[int]] = defaultdict(list)
        for place, each in enumerate(self.parameters.values()):
            for group in sharing(each):
                by_group[group].append(place)
        for group, its in by_group.items():
            squares = torch.tensor([found[place] ** 2 for place in its], dtype=torch.float64)
            dist.all_reduce(squares, group=group)
            for place, square in zip(its, squares.tolist()):
                found[place] = sqrt(square)
        return found


def local(tensor: Tensor | None) -> Tensor | None:
    """This process's part of a tensor that `fully_shard` or another plan has distributed; any other as it is."""
    return tensor.to_local() if tensor is not None and hasattr(tensor, "device_mesh") else tensor  # pyright: ignore


def sharing(tensor: Tensor) -> list[Any]:
    """The groups of processes over which a tensor is split, one for each direction."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is None:
        return []
    return [mesh.get_group(axis) for axis, each in enumerate(tensor.placements) if each.is_shard()]  # pyright: ignore


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
