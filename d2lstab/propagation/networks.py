"""Second moments along the children of any Sequential."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..arguments import check_factory, seed_list
from ..processes import shared
from ..randomness import global_stream, normal, seeded
from ..signatures import checked
from ..threads import one_thread_on_two_cores
from .moments import Propagation, gathered, log_square, near_one


@checked
@one_thread_on_two_cores()
def network_sweep(
    make_model: Callable[[int], nn.Sequential], inputs: Tensor, *, seeds: Iterable[int] = range(8)
) -> Propagation:
    """Second moments of a signal on its way through a network's children, and of a random gradient on its way back.

    make_model(seed) returns an nn.Sequential, such as `mlp` or `residual_mlp` do; its modes are left as they come, so
    that batch normalization is measured with the statistics of the batch. inputs: (batch, ...), the same for every
    seed. The gradient starts as N(0, 1) at the output. Returns `forward` and `backward`, (seeds, children + 1), as
    natural logarithms of means over all entries; a `process_group` shares the seeds out, and Ctrl-C ends the sweep early with
    the seeds done. Afterwards the models'
    parameters, buffers, gradients and modes and torch's random streams are as they were.

    Everything is computed in float64, and the gradient's size is carried apart, so that it neither
    overflows nor vanishes at any depth. The signal's size cannot be: a child need not be linear. Beyond 10^±150 it
    comes back as inf or −inf.
    Raises ValueError for inputs that are no floating tensor of at least two axes or do not fit a child, and an empty
    Sequential; TypeError if make_model returns no Sequential or a child returns no floating tensor.

    >>> def network(seed):
    ...     return mlp([64] * 12, torch.tanh, initializer=he_normal_, seed=seed)
    >>> sweep = network_sweep(network, digits().inputs[:100])
    >>> sweep.forward.shape  # 8 networks, the input and 11 children
    torch.Size([8, 12])
    >>> ax = sweep.plot(label="8 networks")
    """
    check_factory("make_model", make_model)
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.dim() < 2 or inputs.numel() == 0:
        given = (
            f"shape {tuple(inputs.shape)} and {inputs.dtype}"
            if isinstance(inputs, Tensor)
            else f"type {type(inputs).__name__}"
        )
        raise ValueError(f"inputs of {given}\nexpected a floating tensor (batch, ...) that is not empty")

    def moments_of(seeds: list[int]) -> Iterator[Tensor]:
        for seed in seeds:
            yield torch.stack(_one_network(make_model, seed, inputs)).cpu()

    seeds = seed_list(seeds)
    return gathered(shared(moments_of, seeds), len(seeds))


def _one_network(make_model, seed: int, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Forward and backward moments of one seed, (children + 1,) each."""
    with torch.inference_mode(False), torch.enable_grad(), global_stream(seed, inputs.device):
        model = make_model(seed)
        if not isinstance(model, nn.Sequential):
            raise TypeError(f"make_model({seed}) returned {type(model).__name__}\nexpected an nn.Sequential")
        if not len(model):
            raise ValueError(f"make_model({seed}) returned an empty Sequential\nexpected one child or more")
        signal, passages = inputs.detach().clone().double(), []
        for name, child in model.named_children():
            entered = signal.detach().requires_grad_()
            signal = _through(name, child, entered)
            passages.append((entered, signal))
        gradient = normal(*signal.shape, generator=seeded(seed), dtype=torch.float64, device=signal.device)
        signals = [entered for entered, _ in passages] + [signal]
        forward = log_square([near_one(each.detach().reshape(1, -1))[2] for each in signals])
        return forward, _backward(gradient, passages)


def _through(name: str, child: nn.Module, entered: Tensor) -> Tensor:
    """What a child returns. Raises ValueError if its input does not fit, TypeError if it is no floating tensor."""
    try:
        signal = functional_call(child, _copies(child, entered), entered.clone())  # copies: a child may work in place
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"child {name!r}, {type(child).__name__}, does not take a signal of shape {tuple(entered.shape)}\n"
            f"expected inputs that fit: {error}"
        ) from error
    if not isinstance(signal, Tensor) or not signal.is_floating_point():
        given = signal.dtype if isinstance(signal, Tensor) else type(signal).__name__
        raise TypeError(f"child {name!r}, {type(child).__name__}, returned {given}\nexpected a floating tensor")
    return signal


def _copies(child: nn.Module, like: Tensor) -> dict[str, Tensor]:
    """A child's parameters and buffers, the floating ones in the dtype of the signal."""
    tensors = dict(child.named_parameters()) | dict(child.named_buffers())
    return {
        name: tensor.detach().to(like.device, like.dtype if tensor.is_floating_point() else None, copy=True)
        for name, tensor in tensors.items()
    }


def _backward(gradient: Tensor, passages: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Natural logs of the mean squared gradients of every child's input, and of the output."""
    unit, exponent, size = near_one(gradient.reshape(1, -1))
    sizes = [size]
    for entered, signal in reversed(passages):
        if signal.requires_grad:
            (gradient,) = torch.autograd.grad(signal, entered, unit.view_as(signal), materialize_grads=True)
        else:  # nothing in the output depends on the input
            gradient = torch.zeros_like(entered)
        unit, exponent, size = near_one(gradient.reshape(1, -1), exponent)
        sizes.append(size)
    return log_square(sizes[::-1])
