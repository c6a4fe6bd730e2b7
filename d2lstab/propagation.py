"""Signal propagation: how the size of a signal, and of its gradient, changes with depth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log

import torch
from torch import Tensor

from .activations import Activation, check_elementwise, slope
from .arguments import available_device, floating_dtype, seed_list, whole_numbers
from .initializers import Initializer, draw_weight
from .plotting import Axes, line_with_band, new_axes
from .randomness import normal, seeded
from .results import Result



@dataclass(frozen=True, eq=False, repr=False)
class Propagation(Result):
    """Second moments of activations and of their gradients, layer by layer."""

    forward: Tensor  # (seeds, depth + 1), natural log of the mean squared activation; entry 0 is the input
    backward: Tensor  # (seeds, depth + 1), natural log of the mean squared gradient; entry `depth` is the output

    def plot(self, ax: Axes | None = None, *, direction: str = "forward", **style) -> Axes:
        """Axes with the second moment against depth in powers of ten, `direction` "forward" or "backward"."""
        labels = {"forward": "log₁₀ mean squared activation", "backward": "log₁₀ mean squared gradient"}
        if direction not in labels:
            raise ValueError(f"direction={direction!r}\nexpected 'forward' or 'backward'")
        ax = new_axes(ax)
        ax.set(xlabel="layer", ylabel=labels[direction])
        moments = getattr(self, direction)
        return line_with_band(ax, torch.arange(moments.shape[-1]), moments / log(10), **style)


def propagate(inputs: Tensor, weights: Sequence[Tensor], activation: Activation) -> Tensor:
    """Mean squared activation after each layer h ↦ f(W h), as natural logarithms; entry 0 is the input.

    inputs: (..., batch, width). weights: one (..., fan_out, fan_in) per layer; leading axes are independent
    networks. Returns (..., depth + 1). Sizes are carried in logarithms, so linear and ReLU-like signals neither
    overflow nor vanish at any depth.
    Raises ValueError if a weight does not fit the signal it gets, and what `check_elementwise` raises.
    Source: Poole et al. 2016, arXiv:1606.05340, eq. 3.
    """
    return _forward(inputs, weights, activation)[0]


def depth_sweep(
    initializer: Initializer,
    activation: Activation,
    *,
    depth: int = 50,
    width: int = 256,
    batch: int = 64,
    seeds: Iterable[int] = range(8),
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Propagation:
    """Second moments of a signal on its way through random layers, and of a random gradient on its way back.

    Each seed is a network without biases, all layers of one width, fed N(0, 1) inputs; the gradient starts as
    N(0, 1) at the last layer. All weights are held at once: seeds × depth × width² numbers.
    Raises ValueError for sizes below 1 or a bad dtype or device, and what `check_elementwise` and
    `draw_weight` raise.
    Source: Glorot and Bengio 2010; Schoenholz et al. 2017, arXiv:1611.01232.
    """
    depth, width, batch = whole_numbers(depth=depth, width=width, batch=batch)
    seeds, dtype, device = seed_list(seeds), floating_dtype(dtype), available_device(device)
    generators = [seeded(seed) for seed in seeds]

    def each_seed(draw) -> Tensor:
        return torch.stack([draw(generator) for generator in generators]).to(device, dtype)

    inputs = each_seed(lambda g: normal(batch, width, generator=g))
    gradient = each_seed(lambda g: normal(batch, width, generator=g))
    weights = [each_seed(lambda g: draw_weight(initializer, (width, width), g)) for _ in range(depth)]
    forward, slopes = _forward(inputs, weights, activation, keep_slopes=True)
    return Propagation(forward, _backward(gradient, weights, slopes))


@torch.no_grad()
def _forward(inputs: Tensor, weights: Sequence[Tensor], activation: Activation, *, keep_slopes: bool = False):
    """Natural logs of the second moments, and the slopes f′(z) of every layer if asked for."""
    check_elementwise(activation, like=inputs)
    # A scale within e^±room leaves room for a whole layer; the rest is carried as a logarithm.
    room = min(40.0, 0.45 * log(torch.finfo(inputs.dtype).max))
    linear_far_out, linear_near_zero = _linear_at(activation, room, inputs), _linear_at(activation, -room, inputs)
    top = room if linear_far_out else torch.inf
    bottom = -room if linear_near_zero else -torch.inf
    signal, log_scale = _unit(inputs)  # the true signal is signal · exp(log_scale)
    logs, slopes = [2 * log_scale], []
    for index, weight in enumerate(weights):
        if weight.shape[-1] != signal.shape[-1]:
            raise ValueError(
                f"weight {index} of shape {tuple(weight.shape)} for a signal of width {signal.shape[-1]}\n"
                f"expected (..., fan_out, {signal.shape[-1]})"
            )
        z, log_scale = _unit(signal @ weight.mT, log_scale)
        # Where f is linear beyond e^±room, as ReLU is, the excess of the scale passes through it.
        inside = log_scale.clamp(bottom, top)
        z = z * inside.exp().to(z.dtype)[..., None, None]
        if keep_slopes:
            slopes.append(slope(activation, z))
        signal, log_scale = _unit(activation(z), log_scale - inside)
        logs.append(2 * log_scale)
    return torch.stack(logs, dim=-1), slopes


@torch.no_grad()
def _backward(gradient: Tensor, weights: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    """Natural logs of the mean squared gradients of every layer's output, input first."""
    gradient, log_scale = _unit(gradient)
    logs = [2 * log_scale]
    for weight, slopes_here in zip(reversed(weights), reversed(slopes)):
        gradient, log_scale = _unit((gradient * slopes_here) @ weight, log_scale)
        logs.append(2 * log_scale)
    return torch.stack(logs[::-1], dim=-1)


def _unit(signal: Tensor, log_scale: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """The signal divided by its root mean square, and the log of the scale that this takes out of it."""
    rms = torch.linalg.vector_norm(signal, dim=(-2, -1), dtype=torch.promote_types(signal.dtype, torch.float32))
    rms = rms / (signal.shape[-1] * signal.shape[-2]) ** 0.5
    safe = torch.where(rms > 0, rms, 1.0)  # a signal of exactly 0 stays 0, at log −∞
    return signal / safe.to(signal.dtype)[..., None, None], rms.double().log() + log_scale


def _linear_at(f: Activation, log_scale: float, like: Tensor) -> bool:
    """Whether f(2 z) = 2 f(z), up to rounding, for inputs of size e^log_scale."""
    z = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64) * exp(log_scale)
    once, twice = f(z.to(like)).double(), f((2 * z).to(like)).double()
    return bool(once.any()) and torch.allclose(twice, 2 * once, rtol=1e-3, atol=1e-3 * float(once.abs().max()))
