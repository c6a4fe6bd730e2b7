"""How far back a gradient reaches in a recurrent network, state by state."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import check_factory, seed_list
from ..plotting import Axes, line_with_band, new_axes
from ..randomness import global_stream, normal, seeded
from ..results import Result
from ..signatures import checked
from ..threads import one_thread_on_two_cores


@dataclass(frozen=True, eq=False, repr=False)
class StateGradients(Result):
    """The size of the gradient of each state that a recurrent module hands to its next step.

    >>> def module(seed):
    ...     return initialize_recurrent_(nn.RNN(2, 32, batch_first=True), lecun_normal_, seed=seed)
    >>> found = state_gradients(module, normal(8, 50, 2, generator=seeded(0)))
    >>> bool((found.hidden[:, -1] < found.hidden[:, 0]).all()), found.cell  # 50 steps back, less; an RNN has no cell
    (True, None)
    """

    hidden: Tensor  # (seeds, steps + 1), natural log of |∂loss/∂h| by lag; entry 0 is the last state
    cell: Tensor | None  # the same for the cell of an LSTM; the last one is handed to nobody, and is at −∞

    def plot(self, ax: Axes | None = None, *, state: str = "hidden", **style: Any) -> Axes:
        """Axes with the gradient against the lag in powers of ten, of the `state` "hidden" or "cell".

        Raises ValueError for another state, or for the cell of a module without one.
        """
        letters = {"hidden": "h"} if self.cell is None else {"hidden": "h", "cell": "c"}
        if state not in letters:
            raise ValueError(f"state={state!r}\nexpected {' or '.join(map(repr, letters))}")
        ax = new_axes(ax)
        ax.set(xlabel="lag, steps before the end", ylabel=f"log₁₀ |∂loss/∂{letters[state]}|")
        sizes = getattr(self, state)
        return line_with_band(ax, torch.arange(sizes.shape[-1], device="cpu"), sizes / log(10), **style)


@checked
@one_thread_on_two_cores()
def state_gradients(
    make_module: Callable[[int], nn.RNNBase], inputs: Tensor, *, seeds: Iterable[int] = range(8)
) -> StateGradients:
    """The gradient of a random direction of the last output with respect to each state before it, step by step.

    make_module(seed) returns an nn.RNN, LSTM or GRU that reads in one direction, of any number of layers; all that
    they keep is one state. inputs: (steps, batch, features), or (batch, steps, features) if it is batch_first; the
    state before them is 0. The gradient at the end has norm 1 for each example, and sizes are root mean squares of
    the norms over the batch. The h and c of an LSTM count as two inputs of the next step, each on its own.

    Computed in float64, with the size carried apart, so that nothing vanishes or overflows at any lag; dropout is off.
    Raises ValueError for inputs that are no floating tensor of three axes or do not fit the module; TypeError if
    make_module returns another module, or one that reads in both directions.

    >>> def module(seed):
    ...     return initialize_recurrent_(nn.LSTM(2, 32, batch_first=True), seed=seed)
    >>> ax = state_gradients(module, normal(8, 50, 2, generator=seeded(0))).plot(label="8 LSTMs")
    """
    check_factory("make_module", make_module, makes="module")
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.dim() != 3 or not inputs.numel():
        given = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"type {type(inputs).__name__}"
        raise ValueError(f"inputs of {given}\nexpected a floating tensor of three axes that is not empty")
    with torch.inference_mode(False), torch.enable_grad():
        sizes = [_one_module(make_module, seed, inputs.detach().double()) for seed in seed_list(seeds)]
    hidden, *cell = torch.stack(sizes, dim=1).cpu()
    return StateGradients(hidden, cell[0] if cell else None)


def _one_module(make_module, seed: int, inputs: Tensor) -> Tensor:
    """Sizes of one seed's gradients by lag, (parts of the state, steps + 1)."""
    with global_stream(seed, inputs.device):
        module = make_module(seed)
    if not isinstance(module, nn.RNNBase) or module.bidirectional:
        both = " that reads in both directions" if isinstance(module, nn.RNNBase) else ""
        raise TypeError(
            f"make_module({seed}) returned {type(module).__name__}{both}\nexpected an nn.RNN, LSTM or GRU in one direction"
        )
    # In training mode, without dropout: cuDNN differentiates in no other.
    module = copy.deepcopy(module).requires_grad_(False).double().train()
    module.dropout = 0.0
    module.flatten_parameters()
    segments = _segments(module, inputs.to(next(module.parameters()).device))
    last = segments[-1][-1]
    start = normal(*last[0][-1].shape, generator=seeded(seed), dtype=torch.float64, device=last[0].device)
    gradients = [torch.zeros_like(part) for part in last]
    gradients[0][-1] = start / torch.linalg.vector_norm(start, dim=-1, keepdim=True)
    exponent, sizes = 0, [_sizes([part[None] for part in gradients])]
    for *states, end in reversed(segments):
        every = torch.autograd.grad(end, sum(states, ()), gradients, materialize_grads=True)
        parts = [torch.stack(every[index :: len(end)][::-1]) for index in range(len(end))]
        segment = _sizes(parts)
        sizes.append(segment + exponent)
        power = segment[:, -1].max().round()
        power = torch.where(power.isfinite(), power, 0)  # a gradient of 0 stays 0
        exponent = exponent + power
        gradients = [part[-1] * power.neg().exp2() for part in parts]
    return log(2) * torch.cat(sizes, dim=-1)


def _segments(module: nn.RNNBase, inputs: Tensor, length: int = 16) -> list[list[tuple[Tensor, ...]]]:
    """The states of each few steps, from the one before them to the one after them; each segment is a graph of its own.

    In so few steps nothing leaves the range of float64 that changes by less than 19 powers of ten per step.
    """
    steps_axis, batch_axis = (1, 0) if module.batch_first else (0, 1)
    widths = [module.proj_size or module.hidden_size] + [module.hidden_size] * isinstance(module, nn.LSTM)
    state = tuple(inputs.new_zeros(module.num_layers, inputs.shape[batch_axis], width) for width in widths)
    segments = []
    for index, x in enumerate(inputs.split(1, dim=steps_axis)):
        if index % length == 0:
            state = tuple(part.detach().requires_grad_() for part in state)
            segments.append([state])
        try:
            _, after = module(x, state if len(state) == 2 else state[0])
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"inputs of shape {tuple(inputs.shape)} for {module}\nexpected inputs that fit: {error}"
            ) from error
        state = after if isinstance(after, tuple) else (after,)
        segments[-1].append(state)
    return segments


def _sizes(parts: list[Tensor]) -> Tensor:
    """log₂ of the root mean square over the batch of norms, (parts, steps); parts are (steps, layers, batch, width)."""
    norms = torch.stack([torch.linalg.vector_norm(part, dim=(1, 3)) for part in parts])
    return norms.square().mean(-1).sqrt().log2()
