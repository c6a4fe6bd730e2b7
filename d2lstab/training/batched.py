"""Layers of many networks at once: tensors with a leading seeds axis, and one batched product for each layer."""

import copy
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import Attention, Block, Embedding, Layer, PreActivation, Scale

Kind = TypeVar("Kind", bound=nn.Module)

# Their forward says nothing of leading axes, so it may run on (seeds, batch, ...) once their children can.
_CONTAINERS = (nn.Sequential, Layer, PreActivation, Block, Attention, Embedding)
# Without parameters, and each example by itself.
_EXAMPLE_BY_EXAMPLE = (
    nn.Identity, nn.Flatten, nn.Unflatten, nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU,
    nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish,
    nn.Hardsigmoid, nn.LogSigmoid, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Threshold,
)  # fmt: skip


def batched(modules: Sequence[nn.Module]) -> nn.Module | None:
    """One module for all of these, with the same names of parameters, each with a leading seeds axis.

    modules: one of the same architecture per seed. It maps (seeds, batch, ...) to (seeds, batch, ...). None if there
    is a module in it whose batched form is not known here; every type is taken exactly, as a subclass may do anything.
    """
    first = modules[0]
    watched = first._forward_hooks or first._forward_pre_hooks or first._backward_hooks
    if watched or any(type(module) is not type(first) for module in modules):
        return None
    if type(first) in _BATCHED:
        return None if _unusual(first) else _BATCHED[type(first)](modules)
    if type(first) in _EXAMPLE_BY_EXAMPLE:
        return ExampleByExample(first)
    if type(first) not in _CONTAINERS:
        return None
    if any(module._modules.keys() != first._modules.keys() for module in modules):
        return None
    names = first._modules
    children: dict[str, nn.Module | None] = {name: batched([m.get_submodule(name) for m in modules]) for name in names}
    if None in children.values():
        return None
    made = copy.copy(first)
    made._modules = children
    return made


def _unusual(module: nn.Module) -> bool:
    """Whether a setting is in use that the batched form does not have."""
    if isinstance(module, nn.Embedding):
        return (
            module.padding_idx is not None or module.max_norm is not None or module.scale_grad_by_freq or module.sparse
        )
    return getattr(module, "padding_mode", "zeros") != "zeros" or getattr(module, "momentum", 0.1) is None


class ExampleByExample(nn.Module):
    """A module without parameters, over all examples of all seeds."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module: nn.Module = copy.deepcopy(module)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Batched(nn.Module, Generic[Kind]):
    """Base of layers with parameters: each (seeds, ...), as is each buffer."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, modules: Sequence[Kind]):
        super().__init__()
        self.like: list[Kind] = [copy.copy(modules[0])]  # in a list, so that it is no child
        for name, first in modules[0]._parameters.items():
            parameter = None
            if first is not None:
                stacked = self.stacked([getattr(module, name) for module in modules])
                parameter = nn.Parameter(stacked, requires_grad=first.requires_grad)
            self.register_parameter(name, parameter)
        for name, first in modules[0]._buffers.items():
            self.register_buffer(name, None if first is None else torch.stack([getattr(m, name) for m in modules]))

    @staticmethod
    def stacked(tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack([tensor.detach() for tensor in tensors])

    def per_feature(self, parameter: Tensor, x: Tensor, axes: int) -> Tensor:
        """A parameter (seeds, *features) to be broadcast with x (seeds, batch, ...), features at axis `axes`."""
        shape = [1] * x.dim()
        shape[0] = len(parameter)
        shape[axes : axes + parameter.dim() - 1] = parameter.shape[1:]
        return parameter.reshape(shape)


class BatchedLinear(Batched[nn.Linear]):
    """Linear maps of many seeds, as one batched product."""

    @staticmethod
    def stacked(tensors: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack([tensor.detach() for tensor in tensors])
        # Laid out as its transpose, which is what the product takes, and as its gradient comes: no copies.
        return stacked.mT.contiguous().mT if stacked.dim() == 3 else stacked

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(len(x), -1, x.shape[-1])
        if self.bias is None:
            product = torch.bmm(rows, self.weight.mT)
        else:
            product = torch.baddbmm(self.bias[:, None], rows, self.weight.mT)
        return product.view(*x.shape[:-1], -1)


class BatchedEmbedding(Batched[nn.Embedding]):
    """One table of all seeds' rows."""

    def forward(self, x: Tensor) -> Tensor:
        first_row = torch.arange(len(x), device=x.device) * self.weight.shape[1]
        return F.embedding(x + first_row.reshape(-1, *[1] * (x.dim() - 1)), self.weight.flatten(0, 1))


class BatchedConvolution(Batched[nn.Conv1d | nn.Conv2d | nn.Conv3d]):
    """The seeds as groups of one convolution."""

    def forward(self, x: Tensor) -> Tensor:
        like, seeds = self.like[0], len(x)
        convolve: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[len(like.kernel_size) - 1]
        bias = None if self.bias is None else self.bias.flatten()
        channels = x.transpose(0, 1).flatten(1, 2)
        made = convolve(
            channels, self.weight.flatten(0, 1), bias, like.stride, like.padding, like.dilation, seeds * like.groups
        )
        return made.unflatten(1, (seeds, -1)).transpose(0, 1)


class BatchedBatchNorm(Batched[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]):
    """The seeds' features as features of one normalization: each has its own statistics."""

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        like, (seeds, _, features) = self.like[0], x.shape[:3]
        running = self.running_mean is not None
        if self.training and running:
            self.num_batches_tracked += 1
        mean, var, weight, bias = (
            None if tensor is None else tensor.view(-1)
            for tensor in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        made = F.batch_norm(
            x.transpose(0, 1).reshape(x.shape[1], seeds * features, *x.shape[3:]),
            mean,
            var,
            weight,
            bias,
            training=self.training or not running,
            momentum=like.momentum or 0.0,  # 0 stays 0; None, a cumulative mean, is unusual
            eps=like.eps,
        )
        return made.unflatten(1, (seeds, features)).transpose(0, 1)


class BatchedNorm(Batched[nn.GroupNorm | nn.LayerNorm | nn.RMSNorm]):
    """Layer, RMS and group normalization: over each example's own features, then each seed's own weight and bias."""

    def forward(self, x: Tensor) -> Tensor:
        like = self.like[0]
        if isinstance(like, nn.GroupNorm):
            made, axes = F.group_norm(x.flatten(0, 1), like.num_groups, eps=like.eps).unflatten(0, x.shape[:2]), 2
        else:
            normalize: Callable[..., Tensor] = F.rms_norm if isinstance(like, nn.RMSNorm) else F.layer_norm
            made, axes = normalize(x, like.normalized_shape, eps=like.eps), x.dim() - len(like.normalized_shape)
        if self.weight is not None:
            made = made * self.per_feature(self.weight, x, axes)
        bias = getattr(self, "bias", None)  # RMSNorm has none
        if bias is not None:
            made = made + self.per_feature(bias, x, axes)
        return made


class BatchedScale(Batched[Scale]):
    """Factors of many seeds, trained or fixed."""

    factor: Tensor

    def __init__(self, modules: Sequence[Scale]):
        super().__init__(modules)
        if "factor" not in self._parameters:
            self.factor = torch.tensor([module.factor for module in modules], device="cpu")

    def forward(self, x: Tensor) -> Tensor:
        return x * self.per_feature(self.factor.to(x), x, 0)


_BATCHED: dict[type[nn.Module], Callable[..., Batched]] = {
    nn.Linear: BatchedLinear,
    nn.Embedding: BatchedEmbedding,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), BatchedConvolution),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), BatchedBatchNorm),
    **dict.fromkeys((nn.LayerNorm, nn.RMSNorm, nn.GroupNorm), BatchedNorm),
    Scale: BatchedScale,
}
