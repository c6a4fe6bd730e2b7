"""Second moments along layers that are given as weights and an activation."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ..activations import Activation, check_elementwise, value_and_slope
from ..arguments import available_device, floating_dtype, name_of, seed_list, whole_numbers
from ..initializers import Initializer
from ..initializers.filling import draw_weight
from ..processes import shared
from ..randomness import normal, seeded
from ..signatures import checked
from ..threads import one_thread_on_two_cores
from .moments import Propagation, at_least_float32, gathered, log_square, near_one

_WEIGHTS = 2**25  # that are held at once: 128 MiB in float32
_ROOM = 43.0  # sizes within 2^±43, 10^±13, leave float32 room for a whole layer; f is linear beyond them, or never


@checked
@one_thread_on_two_cores()
def propagate(inputs: Tensor, weights: Sequence[Tensor], activation: Activation) -> Tensor:
    """Mean squared activation after each layer h ↦ f(W h), as natural logarithms; entry 0 is the input.

    inputs: (..., batch, width). weights: one (..., fan_out, fan_in) per layer; leading axes are independent
    networks, and broadcast. Returns (..., depth + 1), float64.

    Products are taken in the dtype of the inputs, f in float32 at least. Sizes are carried in logarithms: where f
    is linear (far out as ReLU, near 0 as tanh) a signal neither overflows nor vanishes at any depth. Where f is
    neither, as z², a size that float32 cannot hold comes back as inf or −inf, and NaN after that.
    Raises TypeError if the inputs or a weight are no tensors, ValueError if they do not fit, or the activation returns NaN for a finite number, and
    what `check_elementwise` raises.
    Source: Poole et al. 2016, arXiv:1606.05340, eq. 3.

    >>> weights = [2 * torch.eye(3)] * 4
    >>> propagate(torch.ones(5, 3), weights, torch.relu).exp().round().tolist()
    [1.0, 4.0, 16.0, 64.0, 256.0]
    """
    weights = list(weights)
    _check_shapes(inputs, weights)
    check_elementwise(activation, like=inputs.to(at_least_float32(inputs.dtype)))
    return _forward(inputs, weights, activation)[0]


@checked
@one_thread_on_two_cores()
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

    Each seed is a network without biases, all layers of one width, fed a batch of N(0, 1) inputs; the gradient starts
    as N(0, 1) at the last layer. A seed means the same numbers alone or in company, in every dtype and place.
    At most 2²⁵ weights (or those of one seed) are held at once; a `process_group` shares the seeds out. Sizes are
    carried as in `propagate`, and come back to the CPU. Ctrl-C or the notebook's stop button ends the sweep early and
    returns the seeds done.
    Raises ValueError for sizes below 1 or a bad dtype or device, and what `check_elementwise` and
    `draw_weight` raise.
    Source: Glorot and Bengio 2010; Schoenholz et al. 2017, arXiv:1611.01232.

    >>> from d2lstab import lecun_normal_
    >>> sweep = depth_sweep(lecun_normal_, torch.relu, depth=20)
    >>> sweep.forward.shape  # 8 networks, the input and 20 layers
    torch.Size([8, 21])
    >>> bool((sweep.forward[:, -1] < -10).all())  # LeCun's weights halve a signal at each ReLU
    True
    >>> ax = sweep.plot(label="8 networks")
    """
    depth, width, batch = whole_numbers(depth=depth, width=width, batch=batch)
    seeds, dtype, device = seed_list(seeds), floating_dtype(dtype), available_device(device)
    check_elementwise(activation, like=torch.empty(0, dtype=at_least_float32(dtype), device=device))

    def moments_of(seeds: list[int]) -> Iterator[Tensor]:
        together = max(1, _WEIGHTS // (depth * width**2))
        groups = (seeds[first : first + together] for first in range(0, len(seeds), together))
        for group in groups:
            yield from moments_of_group(group)

    def moments_of_group(seeds: list[int]) -> list[Tensor]:
        generators = [seeded(seed) for seed in seeds]

        def each_seed(draw) -> Tensor:
            return torch.stack([draw(generator) for generator in generators]).to(device, dtype)

        inputs = each_seed(lambda g: normal(batch, width, generator=g))
        gradient = each_seed(lambda g: normal(batch, width, generator=g))
        weights = [each_seed(lambda g: draw_weight(initializer, (width, width), g)) for _ in range(depth)]
        forward, slopes = _forward(inputs, weights, activation, keep_slopes=True)
        moments = torch.stack([forward, _backward(gradient, weights, slopes)], dim=1).cpu()
        return [each.clone() for each in moments]  # a view would travel with the whole

    return gathered(shared(moments_of, seeds), len(seeds))


@torch.no_grad()
def _forward(inputs: Tensor, weights: Sequence[Tensor], activation: Activation, *, keep_slopes: bool = False):
    """Natural logs of the second moments, and the slopes f′(z) of every layer if asked for."""
    dtype = inputs.dtype
    # Where f is linear beyond 2^±room, the excess of the size passes through it, and its slope is the one there.
    top = _ROOM if _linear_at(activation, 2.0**_ROOM, inputs) else torch.inf
    bottom = -_ROOM if _linear_at(activation, 2.0**-_ROOM, inputs) else -torch.inf
    signal, exponent, size = near_one(inputs)
    sizes, slopes = [size], []
    for index, weight in enumerate(weights):
        z, exponent, _ = near_one(signal.to(dtype) @ weight.mT, exponent)
        inside = exponent.clamp(bottom, top)
        z = z * inside.exp2().to(z.dtype)[..., None, None]
        if keep_slopes:
            signal, slopes_here = value_and_slope(activation, z)
            slopes.append(slopes_here)
        else:
            signal = activation(z.clone())  # a copy: f may work in place
        if (signal.isnan() & z.isfinite()).any():
            raise ValueError(
                f"activation {name_of(activation)} returned NaN in layer {index + 1}\n"
                "expected a function that has a value for every real number"
            )
        signal, exponent, size = near_one(signal, exponent - inside)
        sizes.append(size)
    return log_square(sizes), slopes


@torch.no_grad()
def _backward(gradient: Tensor, weights: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    """Natural logs of the mean squared gradients of every layer's output, input first."""
    dtype = gradient.dtype
    gradient, exponent, size = near_one(gradient)
    sizes = [size]
    for weight, slopes_here in zip(reversed(weights), reversed(slopes)):
        gradient, exponent, _ = near_one(gradient * slopes_here, exponent)
        gradient, exponent, size = near_one(gradient.to(dtype) @ weight, exponent)
        sizes.append(size)
    return log_square(sizes[::-1])


def _linear_at(f: Activation, size: float, like: Tensor) -> bool:
    """Whether f(2 z) = 2 f(z), up to rounding, for inputs of this size; so it is where f is all 0 or infinite."""
    z = size * torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=at_least_float32(like.dtype), device=like.device)
    once, twice = f(z.clone()).double(), f(2 * z).double()  # a copy: f may work in place
    size_of_f = float(once.abs().nan_to_num(0, posinf=0).max())
    return torch.allclose(twice, 2 * once, rtol=1e-6, atol=1e-6 * size_of_f)


def _check_shapes(inputs: Tensor, weights: Sequence[Tensor]) -> None:
    for name, given in (("inputs", inputs), *((f"weight {index}", weight) for index, weight in enumerate(weights))):
        if not isinstance(given, Tensor):
            raise TypeError(f"{name} of type {type(given).__name__}\nexpected a tensor, such as layer.weight")
    if inputs.dim() < 2 or inputs.numel() == 0 or not inputs.is_floating_point():
        raise ValueError(
            f"inputs of shape {tuple(inputs.shape)} and {inputs.dtype}\nexpected floating (..., batch, width) without a 0"
        )
    shape = inputs.shape
    for index, weight in enumerate(weights):
        try:
            networks = torch.broadcast_shapes(shape[:-2], weight.shape[:-2])
        except RuntimeError:
            networks = None
        if networks is None or weight.dim() < 2 or weight.shape[-1] != shape[-1] or weight.dtype != inputs.dtype:
            raise ValueError(
                f"weight {index} of shape {tuple(weight.shape)} and {weight.dtype} for a signal of shape {tuple(shape)}"
                f" and {inputs.dtype}\nexpected (..., fan_out, {shape[-1]}) with leading axes and dtype that fit"
            )
        shape = (*networks, shape[-2], weight.shape[-2])
