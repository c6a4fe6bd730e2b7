"""Weights and biases of recurrent modules, gate by gate."""

from collections.abc import Iterator
from math import exp, inf, log, log1p

import torch
from torch import Generator, Tensor, nn

from ..arguments import is_number, whole_numbers
from ..randomness import seeded
from ..signatures import checked
from .dense import lecun_normal_
from .fans import check_matrix, signed_scale_of
from .filling import Initializer, draw_weight
from .orthogonal import orthogonal_

# torch stacks the gates of a layer in this order; the one that keeps the past is the forget gate, a GRU's z.
_GATES = {nn.LSTM: "ifgo", nn.LSTMCell: "ifgo", nn.GRU: "rzn", nn.GRUCell: "rzn", nn.RNN: "h", nn.RNNCell: "h"}
_KEEPS = {"ifgo": "f", "rzn": "z"}


@checked
@torch.no_grad()
def identity_recurrent_(weight: Tensor, *, scale: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The square weight, filled with `scale` times the identity: a state that nothing changes is kept.

    The generator is not used; it is taken because every initializer takes one.
    Raises ValueError if the weight is not a square matrix or the scale no finite number.
    Source: Le, Jaitly and Hinton 2015, arXiv:1504.00941, section 2.

    >>> identity_recurrent_(torch.empty(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    check_matrix(weight)
    signed_scale_of(scale=scale)
    if weight.dim() != 2 or weight.shape[0] != weight.shape[1]:
        raise ValueError(f"weight of shape {tuple(weight.shape)}\nexpected a square matrix, hidden × hidden")
    return weight.zero_().fill_diagonal_(scale)


@checked
@torch.no_grad()
def initialize_recurrent_(
    module: nn.Module, initializer: Initializer = orthogonal_, *, inputs: Initializer = lecun_normal_, seed: int = 0
) -> nn.Module:
    """The recurrent module, each gate's hidden-to-hidden weight filled by the initializer and its biases set to 0.

    module: an nn.RNN, LSTM or GRU, or one of their cells. inputs fills each gate's input-to-hidden weight. Gates are
    drawn one by one, so each has its own fans; torch's own functions see the gates as one tall matrix. Nothing is
    written before all is drawn.
    Raises TypeError for other modules, and what `draw_weight` raises.

    >>> lstm = initialize_recurrent_(nn.LSTM(2, 8))
    >>> gates = lstm.weight_hh_l0.detach().split(8)
    >>> all(torch.allclose(gate @ gate.T, torch.eye(8), atol=1e-6) for gate in gates)  # each is orthogonal
    True
    """
    whole_numbers(seed=seed, at_least=0)
    gates, generator = gates_of(module), seeded(seed)
    drawn = {}
    for name, weight in module.named_parameters():
        if name.startswith("weight"):
            # weight_hr, the projection of an LSTM's output, has no gates.
            parts = weight.chunk(1 if name.startswith("weight_hr") else len(gates))
            rule = inputs if name.startswith("weight_ih") else initializer
            drawn[name] = torch.cat([draw_weight(rule, tuple(part.shape), generator) for part in parts])
    for name, parameter in module.named_parameters():
        parameter.copy_(drawn[name]) if name in drawn else parameter.zero_()
    return module


@checked
@torch.no_grad()
def forget_bias_(module: nn.Module, value: float) -> nn.Module:
    """The LSTM or GRU with the bias of the gate that keeps the past equal to `value`.

    torch adds two biases, bias_ih and bias_hh: their sum becomes `value`, the second 0. In a GRU it is the gate z.
    Raises TypeError for a module without such a gate, ValueError for one without biases or a value that is not finite.
    Source: Gers, Schmidhuber and Cummins 2000, Learning to Forget; Jozefowicz et al. 2015.

    >>> lstm = forget_bias_(nn.LSTM(1, 2), 3.0)
    >>> (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()[2:4]  # input, forget, cell and output gate, of two units each
    tensor([3., 3.])
    """
    if not is_number(value) or not -inf < value < inf:
        raise ValueError(f"value={value!r}\nexpected a finite number")
    gates = list(_gate(module, _kept_by(module)))
    if not all(abs(value) <= torch.finfo(bias.dtype).max for bias, _ in gates):
        raise ValueError(f"value={value}\nexpected one that the bias can hold")
    for bias, other in gates:
        bias.fill_(value)
        other.zero_()
    return module


@checked
@torch.no_grad()
def chrono_(module: nn.Module, longest: int, *, seed: int = 0) -> nn.Module:
    """The LSTM or GRU with gate biases for memories of up to `longest` steps, spread over its units.

    The bias of the gate that keeps the past is ln U, with U uniform on [1, longest − 1]; that of an LSTM's input gate
    is its negative. torch's second bias of these gates becomes 0. module: an nn.LSTM or GRU, or their cell.
    Raises ValueError for longest below 3, where there is nothing to spread, and what `forget_bias_` raises.
    Source: Tallec and Ollivier 2018, arXiv:1804.11188, eq. 16.

    >>> lstm = chrono_(nn.LSTM(1, 64), longest=100)
    >>> spread = lstm.bias_ih_l0.detach()[64:128].exp()  # its forget gates' U
    >>> bool(spread.min() > 1), bool(spread.max() < 99)
    (True, True)
    """
    (longest,) = whole_numbers(longest=longest, at_least=3)
    whole_numbers(seed=seed, at_least=0)
    generator = seeded(seed)
    kept = _kept_by(module)
    drawn = []
    for bias, other in _gate(module, kept):
        drawn.append(torch.empty(bias.shape, device="cpu").uniform_(1, longest - 1, generator=generator).log())
        bias.copy_(drawn[-1])
        other.zero_()
    if kept == "f":
        for (bias, other), value in zip(_gate(module, "i"), drawn):
            bias.copy_(-value)
            other.zero_()
    return module


@checked
def half_life(forget_bias: float) -> float:
    """The number of steps after which half of an LSTM's cell is left, ln ½ / ln σ(forget_bias), with no other input.

    Raises ValueError for a bias that is not finite.

    >>> half_life(0.0), round(half_life(3.0), 1)
    (1.0, 14.3)
    """
    if not -inf < forget_bias < inf:
        raise ValueError(f"forget_bias={forget_bias}\nexpected a finite number")
    # ln σ(b) = −ln(1 + e⁻ᵇ), in the form that neither overflows nor loses its digits.
    log_sigmoid = -log1p(exp(-forget_bias)) if forget_bias > 0 else forget_bias - log1p(exp(forget_bias))
    return log(0.5) / log_sigmoid if log_sigmoid else inf


def gates_of(module: nn.Module) -> str:
    """A letter for each gate, in torch's order. Raises TypeError if the module is not recurrent."""
    for kind, gates in _GATES.items():
        if isinstance(module, kind):
            return gates
    raise TypeError(f"module of type {type(module).__name__}\nexpected an RNN, LSTM or GRU of torch.nn, or its cell")


def _kept_by(module: nn.Module) -> str:
    gates = gates_of(module)
    if gates not in _KEEPS:
        raise TypeError(f"{type(module).__name__} has no gate that keeps the past\nexpected an LSTM or a GRU")
    return _KEEPS[gates]


def _gate(module: nn.Module, gate: str) -> Iterator[tuple[Tensor, Tensor]]:
    """This gate's part of bias_ih and bias_hh, layer by layer and direction by direction."""
    gates = gates_of(module)
    names = [name for name, _ in module.named_parameters() if name.startswith("bias_ih")]
    if not names:
        raise ValueError(f"{type(module).__name__} without biases\nexpected one made with bias=True")
    for name in names:
        both = (module.get_parameter(name), module.get_parameter(name.replace("bias_ih", "bias_hh")))
        first, second = (bias.chunk(len(gates))[gates.index(gate)] for bias in both)
        yield first, second
