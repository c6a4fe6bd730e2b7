"""What mean-field theory expects of the layers that were found."""

from collections import Counter
from functools import cache
from math import isfinite, isnan, log, nan, prod, sqrt

import torch
from torch import Tensor, nn

from ..initializers import fans
from ..mean_field import critical_sigma_w
from ..mean_field.quadrature import moments, panels_of
from ..recording import SignalRow
from ..recording.functional import BENDING
from ..recording.statistics import norm

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RECTIFIERS = ("ReLU", "LeakyReLU", "PReLU", "ReLU6")
NAMED = {kind.__name__: f for kind, f in BENDING.items()}
UNCHANGED = ("Flatten", "Identity", "Unflatten")
_OF_GRAPHS = (
    "sums over neighbours divided by their number; fewer layers, or residual connections, where averages leave little that "
    "differs"
)
_GRID = torch.logspace(-8, 8, 129, dtype=torch.float64, device="cpu")


@cache
def critical_scale(kind: str) -> float:
    """σ_w = √fan_in · std at which an activation keeps signals and gradients; √2 for rectifiers, 1 without one."""
    if kind in _RECTIFIERS:
        return sqrt(2)
    try:
        return critical_sigma_w(NAMED[kind])
    except (KeyError, ValueError):  # no activation, or none at which there is an edge of chaos
        return 1.0


def critical_gain(model: nn.Module) -> float:
    """The critical scale of the activation that most of the model's modules are."""
    kinds = Counter(type(each).__name__ for each in model.modules())
    found = [kind for kind, _ in kinds.most_common() if kind in NAMED or kind in _RECTIFIERS]
    return critical_scale(found[0]) if found else sqrt(2)


def scales(evidence) -> tuple[str, list[tuple[str, float, int, float]]]:
    """The activation that is called most, and of each hidden layer label, std, fan_in and σ_w over the critical one.

    "" where none that is known is called, as in a network of sines, and yet the network is not linear.
    """
    kinds = Counter(row.kind for row in evidence.rows if row.kind in NAMED or row.kind in _RECTIFIERS)
    kind = kinds.most_common(1)[0][0] if kinds else "a linear network" if evidence.affine else ""
    layers = []
    for row in evidence.rows:
        module = evidence.layers.get(row.name)
        if isinstance(module, LAYERS) and row.call == 1 and module.weight.numel() > 1:
            std, fan_in = sqrt(mean_square(module.weight)), fans(module).fan_in
            layers.append((row.label, std, fan_in, std * sqrt(fan_in) / critical_scale(kind)))
    return kind, layers[:-1] or layers


def scale_advice(evidence) -> tuple[str, str]:
    """How the weights compare with the critical scale, for the evidence, and the initialization that has it."""
    kind, hidden = scales(evidence)
    if not kind:
        return (
            "",
            "the initialization that its activation was published with, and inputs of the size that it was made for",
        )
    critical, off = critical_scale(kind), [each for each in hidden if not 0.8 < each[3] < 1.25]
    if not off and evidence.is_graph:
        return "", _OF_GRAPHS
    if not off:
        return "", "nn.LayerNorm or nn.BatchNorm1d before each activation, or residual connections"
    where = off[0][0] if len(off) == 1 else f"{off[0][0]} … {off[-1][0]}"
    found = _span([std for _, std, _, _ in off])
    if kind in ("Sigmoid", "Softplus", "Hardsigmoid", "LogSigmoid"):
        return f"; weights have std {found} ({where})", (
            "nn.BatchNorm1d before each activation, or nn.Tanh or nn.ReLU in its place: no scale of weights is critical here"
        )
    right = _span([critical / sqrt(fan_in) for _, _, fan_in, _ in off])
    gain = f"{critical:.3g} / sqrt(fan_in)"
    return (
        f"; weights have std {found} where {kind} needs {right} ({where})",
        f"nn.init.normal_(weight, std={gain}): std {right} instead of {found} in {where}; biases 0"
        + (f"; {_OF_GRAPHS}" if evidence.is_graph else ""),
    )


def _span(values: list[float]) -> str:
    """The first of values that are within a tenth of each other; otherwise the least and the largest."""
    low, high = min(values), max(values)
    return f"{values[0]:.3g}" if high <= 1.1 * low else f"{low:.3g} to {high:.3g}"


def expected_moments(rows: list[SignalRow], modules: dict[str, nn.Module], first: float) -> list[float]:
    """E h² that each row has in an infinitely wide network with weights of the sizes found, NaN where unknown.

    Predictions are carried from row to row along the outputs that go in as they are, from `first`, the second moment
    of the inputs, on; after a layer of which theory knows nothing they start again from what was measured.
    """
    found: list[float] = []
    for row in rows:
        given = first if not found else nan
        if row.source is not None:
            given = found[row.source] if not isnan(found[row.source]) else rows[row.source].moment
        found.append(_after(row, modules.get(row.name), given))
    return found


def _after(row: SignalRow, module: nn.Module | None, given: float) -> float:
    if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)):
        return 1.0 if module.weight is None else mean_square(module.weight) + mean_square(module.bias)
    if isinstance(module, LAYERS):
        return fans(module).fan_in * mean_square(module.weight) * given + mean_square(module.bias)
    if row.kind == "ReLU":
        return given / 2
    if row.kind in NAMED and isfinite(given) and given > 0:
        return activated(row.kind, given)
    return given if row.kind in UNCHANGED else nan


def mean_square(tensor: Tensor | None) -> float:
    """The second moment of a tensor's entries; 0 where there is none."""
    return 0.0 if tensor is None else float(norm(tensor.detach())) ** 2 / tensor.numel()


def activated(kind: str, q: float, *, slope: bool = False) -> float:
    """E f(z)², or E f′(z)², for z ~ N(0, q), between the points of a table in logarithms; NaN beyond it."""
    if not float(_GRID[0]) <= q <= float(_GRID[-1]):
        return nan
    table = _table(kind, slope)
    place = log(q / float(_GRID[0])) / log(float(_GRID[1] / _GRID[0]))
    low = min(int(place), len(table) - 2)
    return float(torch.lerp(table[low], table[low + 1], place - low).exp())


@cache
def _table(kind: str, slope: bool) -> torch.Tensor:
    return moments(NAMED[kind], _GRID, panels_of(NAMED[kind]))[int(slope)].clamp(min=1e-300).log()


def expected_gradients(rows: list[SignalRow], modules: dict[str, nn.Module], moments: list[float]) -> list[float]:
    """E g² that each row has in an infinitely wide network with weights of the sizes found, NaN where unknown.

    Predictions are carried back from the one row that an output goes into as it is, and begin with what was measured
    there where theory has no say of that one. An output that goes into several, or into a sum as well, has none.
    moments: what is expected of the signals, E h² of each row; NaN where unknown.
    """
    found = [nan] * len(rows)
    users: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        if row.source is not None:
            users.setdefault(row.source, []).append(place)
    for place in reversed(range(len(rows))):
        user = users.get(place, [])
        if len(user) == 1 and not rows[place].joined:
            after = user[0]
            given = rows[after].gradient if isnan(found[after]) else found[after]
            moment = rows[place].moment if isnan(moments[place]) else moments[place]
            found[place] = _before(rows[after], modules.get(rows[after].name), rows[place], moment, given)
    return found


def _before(after: SignalRow, module: nn.Module | None, row: SignalRow, moment: float, given: float) -> float:
    """E g² of the row's outputs, if that of the layer they go into is `given`."""
    if isinstance(module, LAYERS):  # each output feels fan_in inputs: by counting, also with strides and groups
        paths = prod(after.shape) * fans(module).fan_in / prod(row.shape)
        return paths * mean_square(module.weight) * given
    if after.kind == "ReLU":
        return given / 2
    if after.kind in NAMED and isfinite(moment) and moment > 0:
        return activated(after.kind, moment, slope=True) * given
    return given if after.kind in UNCHANGED else nan
