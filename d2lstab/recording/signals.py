"""What was measured: one row per layer call."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from math import inf, isfinite, isnan, log10, nan, prod, sqrt
from typing import Any, overload

import torch
from torch import Tensor

from ..plotting import Axes, line_with_band, new_axes
from ..results import Result
from .statistics import at_hand
from .tables import frame, html_table, number_text, shape_text, text_table


@dataclass(frozen=True, eq=False, repr=False)
class SignalRow(Result):
    """What went through one call of a layer; NaN stands for "not measured".

    >>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    >>> with record(model) as signals:
    ...     _ = model(torch.ones(4, 8))
    >>> row = signals["1"]
    >>> row.label, row.kind, row.shape, round(row.variation, 4)  # all samples are one: nothing differs between them
    ('1', 'ReLU', (4, 8), 0.0)
    """

    name: str  # the module's path; functional calls are path.relu()
    call: int  # 1 for the first call of this layer, 2 for the second …
    kind: str  # class of the module, or name of the function
    shape: tuple[int, ...]  # of the output, of the first of several
    dtype: str  # of the output, such as "float32"
    moment: float = nan  # E h², over samples and units
    variation: float = nan  # root mean square of what differs between samples, over the root of E h²
    gradient: float = nan  # E g², g the derivative of the loss with respect to an entry of the output
    dead: float = nan  # share of units that are 0 for every sample and position; `full` only, as the next two
    saturated: float = nan  # share of inputs at which an activation's slope is below 1 % of its largest
    largest: float = nan  # max |h|; infinite or NaN where an entry is
    source: int | None = None  # index of the row whose output went in as it is, where one did
    joined: bool = False  # whether the output also went into a sum, product or concatenation, as a skip does
    time: tuple[float, ...] = ()  # recurrent layers: Σ g² over the inputs of each time step

    @property
    def label(self) -> str:
        """The name, with the number of the call after the first."""
        return _label(self)


class Entry:
    """A row whose numbers may still be tensors."""

    __slots__ = (
        "awaits_gradient",
        "call",
        "dtype",
        "extremes",
        "joined",
        "kind",
        "name",
        "pairs",
        "reach",
        "shape",
        "source",
        "time",
        "values",
    )

    def __init__(self, name: str, call: int, kind: str, shape: tuple[int, ...], dtype: torch.dtype):
        self.name, self.call, self.kind, self.shape, self.dtype = name, call, kind, shape, dtype
        self.values: dict[str, Any] = {}  # a tensor each, and a number once rows are read
        self.time: dict[str, Any] = {}
        self.pairs, self.awaits_gradient, self.joined = 1, False, False
        self.extremes: tuple[Tensor, Tensor] | None = None  # min h and max h of each unit
        self.reach: Tensor | None = None  # max |h| of each unit, once rows are read
        self.source: int | None = None


_COLUMNS = {"moment": "E h²", "variation": "variation", "gradient": "E g²", "dead": "dead", "saturated": "saturated"}


@dataclass(frozen=True, eq=False, repr=False)
class Signals(Result):
    """What `record` measured, in order of execution: a sequence of rows, one per layer call.

    >>> model = nn.Sequential(nn.Identity(), nn.ReLU())
    >>> with record(model, full=True) as signals:
    ...     model(torch.tensor([[1.0, -1.0], [3.0, -1.0]], requires_grad=True)).sum().backward()
    >>> print(signals.table())
    layer      kind  output  E h²  variation  E g²  dead  saturated
    0      Identity     2×2     3       0.58   0.5     0          –
    1          ReLU     2×2   2.5       0.63     1   0.5          –
    """

    tape: list[Entry] = field(default_factory=list)  # entries whose numbers may still be on the device

    @property
    def rows(self) -> list[SignalRow]:
        """The rows as Python numbers; reading them is what waits for the device."""
        _fetch(self.tape)
        return [_row(entry) for entry in self.tape]

    def __len__(self) -> int:
        return len(self.tape)

    def __iter__(self) -> Iterator[SignalRow]:
        return iter(self.rows)

    @overload
    def __getitem__(self, place: slice) -> list[SignalRow]: ...
    @overload
    def __getitem__(self, place: int | str) -> SignalRow: ...
    def __getitem__(self, place: int | str | slice) -> SignalRow | list[SignalRow]:
        """The row at an index, or with a label such as "fc1" or "fc1#2"; for a slice the rows in it.

        Raises KeyError for a label that is not there, IndexError for such an index.
        """
        if isinstance(place, slice):
            chosen = self.tape[place]
            _fetch(chosen)
            return [_row(entry) for entry in chosen]
        if isinstance(place, str):
            labels = {_label(entry): entry for entry in self.tape}
            if place not in labels:
                raise KeyError(f"{place!r} was not recorded\nexpected one of {', '.join(labels)}")
            entry = labels[place]
        else:
            try:
                entry = self.tape[place]
            except (IndexError, TypeError) as error:
                raise type(error)(f"{place!r} of {len(self)} rows\nexpected an index, a slice or a label") from None
        _fetch([entry])
        return _row(entry)

    def _rows(self) -> list[tuple[str, str]]:
        return [("layer calls", str(len(self)))]

    def to_dict(self) -> dict[str, Any]:
        """The rows as plain numbers; None where nothing was measured."""
        return {"rows": [{name: plain(value) for name, value in asdict(row).items()} for row in self.rows]}

    def to_json(self) -> str:
        """`to_dict` as JSON; infinite numbers are the strings "inf" and "-inf"."""
        return json.dumps(self.to_dict())

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame, NaN where nothing was measured.

        Raises ModuleNotFoundError where pandas is missing.
        """
        return frame([asdict(row) for row in self.rows], [field.name for field in fields(SignalRow)])

    def table(self) -> str:
        """One line per row, for a terminal: label, kind, output and what was measured, to two digits."""
        return text_table(*self._cells())

    def _repr_html_(self) -> str:
        return html_table(*self._cells(), caption=f"{len(self)} layer calls")

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = ["layer", "kind", "output", *_COLUMNS.values()]
        return head, [
            [row.label, row.kind, shape_text(row.shape), *(number_text(getattr(row, name)) for name in _COLUMNS)]
            for row in self.rows
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Axes with the second moments of signals and gradients, call by call, in powers of ten."""
        ax = new_axes(ax)
        rows = self.rows
        for name, label in (("moment", "signal, E h²"), ("gradient", "gradient, E g²")):
            heights = [log10(value) if 0 < (value := getattr(row, name)) < torch.inf else nan for row in rows]
            line_with_band(
                ax, torch.arange(1, len(rows) + 1, device="cpu"), torch.tensor(heights, device="cpu"), label=label
            )
        ax.set(xlabel="layer call", ylabel="log₁₀ of the second moment")
        return ax


def _label(call: SignalRow | Entry) -> str:
    name = call.name or call.kind  # a model that is a single layer has no path
    return name if call.call == 1 else f"{name}#{call.call}"


def plain(value: Any) -> Any:
    """JSON's idea of a value: None for NaN, strings for infinities, lists for tuples."""
    if isinstance(value, float):
        return None if isnan(value) else value if isfinite(value) else str(value)
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


def _row(entry: Entry) -> SignalRow:
    values, entries = entry.values, prod(entry.shape)
    found = {"largest": values["largest"]} if "largest" in values else {}
    if "flat" in values:
        found["saturated"] = values["flat"] / entries
    if entry.reach is not None:
        found["dead"] = 1 - values["alive"] / entry.reach.numel()
    if "norm" in values:
        found["moment"] = _mean_square(values["norm"], entries, values.get("largest", nan))
    if "gradient_norm" in values:
        found["gradient"] = _mean_square(values["gradient_norm"], entries, values.get("gradient_largest", nan))
    if values.get("change", nan) >= 0 and 0 < values["norm"] < inf:
        found["variation"] = values["change"] / values["norm"] * sqrt(entries / (2 * entry.pairs))
    if "time" in entry.time:
        found["time"] = tuple(value * value for value in entry.time["time"])
    dtype = str(entry.dtype).removeprefix("torch.")
    return SignalRow(
        entry.name, entry.call, entry.kind, entry.shape, dtype, source=entry.source, joined=entry.joined, **found
    )


def _mean_square(norm: float, entries: int, largest: float) -> float:
    """norm² / entries, or the square of the largest entry where the norm left the range of float32."""
    outside = norm in (0, inf) and 0 < largest < inf
    return largest * largest if outside else norm * norm / entries


def _fetch(tape: list[Entry]) -> None:
    """Replaces every tensor in the tape by its number, with one transfer per device."""
    columns = [*_reaches(tape)]
    alike: dict[tuple, list[tuple[dict, str, Tensor]]] = {}  # a conversion per number would cost more than measuring
    for entry in tape:
        for values in (entry.values, entry.time) if entry.time else (entry.values,):
            for name, value in values.items():
                if not isinstance(value, Tensor):
                    continue
                if at_hand(value) and not value.dim():
                    values[name] = value.item()
                else:
                    kind = value.get_device(), value.dtype, value.shape if value.dim() else ()
                    alike.setdefault(kind, []).append((values, name, value))
    for each in alike.values():
        columns.append(([(values, name) for values, name, _ in each], torch.stack([value for _, _, value in each])))
    for device in {column.device for _, column in columns}:
        here = [(places, column) for places, column in columns if column.device == device]
        wide = torch.float32 if device.type == "mps" else torch.float64  # which that does not know
        numbers = iter(torch.cat([column.to(wide).flatten() for _, column in here]).tolist())
        for places, column in here:
            for values, name in places:
                values[name] = tuple(islice(numbers, column.shape[1])) if column.dim() > 1 else next(numbers)


_Column = tuple[list[tuple[dict, str]], Tensor]  # where numbers belong, and these numbers


def _reaches(tape: list[Entry]) -> Iterator[_Column]:
    """The largest entry of each call, and how many of its units are not 0: layers of one width all at once."""
    alike: dict[tuple, list[tuple[Entry, Tensor, Tensor]]] = {}
    for entry in tape:
        if entry.extremes is not None:
            least, most = entry.extremes
            alike.setdefault((most.get_device(), most.dtype, most.shape), []).append((entry, least, most))
    for found in alike.values():
        entries, *extremes = zip(*found)
        least, most = (torch.stack(each).reshape(len(entries), -1) for each in extremes)
        reaches = torch.maximum(most, -least)
        for entry, reach in zip(entries, reaches):
            entry.reach, entry.extremes = reach, None
        yield [(entry.values, "largest") for entry in entries], reaches.amax(1)
        yield [(entry.values, "alive") for entry in entries], reaches.count_nonzero(1)
