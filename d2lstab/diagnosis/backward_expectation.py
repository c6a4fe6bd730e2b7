"""What mean-field theory expects of the gradients that go back through the layers that were found."""

from math import isfinite, isnan, nan, prod

from torch import nn

from ..initializers import fans
from ..recording import SignalRow
from .expectation import LAYERS, NAMED, UNCHANGED, activated, mean_square


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
