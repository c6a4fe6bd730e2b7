"""What a monitor recorded: tensors over steps and layers."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..plotting import Axes, count_in, heatmap, line_with_band, literal, new_axes, shades, theory_line
from ..recording.signals import plain
from ..recording.tables import number_text, text_table
from ..results import Result
from .calls import BINS, EDGES, LayerCall
from .onsets import Onset

Record = dict[str, Any]  # of one step, as a checkpoint holds it
COLUMNS = ("moment", "variation", "gradient", "dead", "saturated", "largest")
LOGGED = ("moment", "gradient", "ratio", "dead", "saturated")
ATTENTION = ("entropy", "logit")
_LOGARITHMIC = {"moment", "gradient", "largest", "ratio"}


@dataclass(frozen=True, eq=False, repr=False)
class TrainingSignals(Result):
    """What a `Monitor` recorded. NaN stands for what was not measured: a layer not called, a share without meaning.

    >>> model = mlp([8, 16, 3], torch.relu, initializer=he_normal_)
    >>> with Monitor(model, every=5) as monitor:
    ...     for seed in range(10):
    ...         loss = model(normal(6, 8, generator=seeded(seed))).square().mean()
    ...         model.zero_grad()
    ...         loss.backward()
    ...         monitor.step(loss)
    >>> signals = monitor.signals
    >>> signals.layers, signals.moment.shape  # records, layers
    (('layer1.linear', 'layer1.relu()', 'output'), torch.Size([2, 3]))
    >>> ax = signals.plot_layers("moment")
    """

    steps: Tensor  # (records,), of training, from 1
    loss: Tensor  # (records,), as given to `Monitor.step`, before the step
    layers: tuple[str, ...]  # labels of the layer calls, such as "fc1" or "fc1#2"
    moment: Tensor  # (records, layers), E h² of the outputs
    variation: Tensor  # (records, layers), root mean square of what differs between samples, over the root of E h²
    gradient: Tensor  # (records, layers), E g², g the derivative of the loss with respect to an output
    dead: Tensor  # (records, layers), share of units that are 0 for every sample
    saturated: Tensor  # (records, layers), share of inputs at which an activation's slope is below 1 % of its largest
    largest: Tensor  # (records, layers), max |h|
    attentions: tuple[str, ...]  # calls of attention, by the module that makes them, such as "encoder.0#2"
    entropy: Tensor  # (records, attentions), over that of equal weights: 1 where all keys count alike, 0 where one does
    logit: Tensor  # (records, attentions), the largest
    weights: tuple[str, ...]  # names of the trained parameters
    gradient_norm: Tensor  # (records, weights), as the optimizer saw it
    update_norm: Tensor  # (records, weights), of what the step added
    weight_norm: Tensor  # (records, weights), before the step
    histograms: Tensor  # (records, layers, bins), shares of the outputs; no bins unless asked for
    edges: Tensor  # (bins + 1,), of the bins
    onsets: tuple[Onset, ...]  # the faults that began

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def ratio(self) -> Tensor:
        """Update over weight of each call's own weight, (records, layers); NaN for calls without one, or of zeros."""
        place = {name: index for index, name in enumerate(self.weights)}
        ratios = torch.full_like(self.moment, nan)
        of_weight = torch.where(self.weight_norm > 0, self.update_norm / self.weight_norm, nan)
        for index, label in enumerate(self.layers):
            name = label.partition("#")[0]
            found = next((key for key in (f"{name}.weight", f"{name}.weight_ih_l0", "weight") if key in place), None)
            if found is not None and (found != "weight" or len(self.layers) == 1):
                ratios[:, index] = of_weight[:, place[found]]
        return ratios

    def _rows(self) -> list[tuple[str, str]]:
        last = int(self.steps[-1]) if len(self) else 0
        told = "; ".join(f"{each.finding.fault} from step {each.step}" for each in self.onsets) or "none"
        return [
            ("records", f"{len(self)}, up to step {last}"),
            ("layer calls", str(len(self.layers))),
            ("weights", str(len(self.weights))),
            ("faults", told),
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Axes with the update-to-weight ratio of every layer against the step, from the first, dark, to the last.

        Source of the line at 10⁻³, a rule of thumb: Karpathy 2022, makemore, part 3. Raises ValueError, as the other
        pictures do, where no step was recorded.
        """
        self._check_any()
        ax = new_axes(ax)
        ax.set(xlabel="step", ylabel="update / weight", yscale="log")
        ratio = self.ratio
        own = [index for index in range(len(self.layers)) if not ratio[:, index].isnan().all()]
        for shade, index in zip(shades(len(own)), own):
            ends: dict[str, Any] = {"label": literal(self.layers[index])} if index in (own[0], own[-1]) else {}
            line_with_band(ax, self.steps, ratio[:, index], color=shade, linestyle="-", linewidth=1.2, **ends)
        return theory_line(ax, self.steps, torch.full(self.steps.shape, 1e-3, dtype=torch.float64, device="cpu"))

    def plot_layers(self, quantity: str = "moment", ax: Axes | None = None) -> Axes:
        """Axes with one quantity over steps and layers as colours; sizes as powers of ten.

        Raises ValueError for a quantity that is none of the recorded ones.
        """
        if quantity not in (*COLUMNS, "ratio"):
            raise ValueError(f"quantity={quantity!r}\nexpected one of {', '.join((*COLUMNS, 'ratio'))}")
        self._check_any()
        values = getattr(self, quantity)
        known = ~values.isnan().all(0)
        known |= ~known.any()  # a run that was NaN from its first record
        values = values[:, known].T
        names = [name for name, there in zip(self.layers, known.tolist()) if there]
        values, label = (values.log10(), f"log₁₀ {quantity}") if quantity in _LOGARITHMIC else (values, quantity)
        ax = heatmap(new_axes(ax), torch.where(values.isfinite(), values, nan), label=label)
        shown = range(0, len(names), -(-len(names) // 20))  # more names than fit would lie on each other
        ax.set_yticks(list(shown), [literal(names[place]) for place in shown])
        return self._steps_below(ax)

    def plot_histogram(self, layer: str, ax: Axes | None = None) -> Axes:
        """Axes with the distribution of a layer's outputs, one column of colours per record.

        Raises ValueError for a layer that was not recorded, or if histograms were not asked for.
        """
        self._check_any()
        if layer not in self.layers:
            raise ValueError(f"layer={layer!r}\nexpected one of {', '.join(self.layers)}")
        if not self.histograms.shape[-1]:
            raise ValueError("no histograms were recorded\nexpected Monitor(model, histograms=True)")
        shares = self.histograms[:, self.layers.index(layer)].nan_to_num().T
        floor = float(shares[shares > 0].min()) if (shares > 0).any() else 1.0
        ax = heatmap(new_axes(ax), shares.clamp(min=floor).log10(), label="log₁₀ of the share", origin="lower")
        edges = (10 * self.edges).asinh()  # where bins are equally wide
        values = (-1000, -100, -10, -1, -0.2, 0, 0.2, 1, 10, 100, 1000)
        places = (torch.tensor(values, device="cpu").mul(10).asinh() - edges[0]) / (edges[1] - edges[0]) - 0.5
        ax.set_yticks(places.tolist(), [f"{value:g}" for value in values])
        seen = shares.sum(1).nonzero().flatten().tolist() or [0]
        ax.set_ylim(seen[0] - 2.5, seen[-1] + 2.5)
        ax.set(ylabel=f"output of {literal(layer)}")
        return self._steps_below(ax)

    def _check_any(self) -> None:
        if not len(self):
            raise ValueError(
                "no step was recorded\nexpected Monitor.step(loss) after the optimizer's step, inside the `with` block"
            )

    def _steps_below(self, ax: Axes) -> Axes:
        count_in(ax, self.steps)
        ax.set(xlabel="step")
        return ax

    def table(self) -> str:
        """One line per layer call, for a terminal: what the last record measured, to two digits.

        Raises ValueError where no step was recorded.
        """
        self._check_any()
        columns = [getattr(self, name)[-1].tolist() for name in LOGGED]
        body = [[label, *map(number_text, numbers)] for label, *numbers in zip(self.layers, *columns)]
        return text_table(["layer", *LOGGED], body)

    def to_dict(self, *, flat: bool = False) -> dict[str, Any]:
        """Everything but the histograms as plain values; None where nothing was measured.

        flat=True: one list per number that a logger gets, all of the records' length, with "step" and "loss" first:
        the columns of pandas.DataFrame(signals.to_dict(flat=True)); NaN where nothing was measured.
        """
        if flat:
            return {"step": self.steps.tolist(), "loss": self.loss.tolist(), **self._columns()}
        tensors = ("steps", "loss", *COLUMNS, *ATTENTION, "gradient_norm", "update_norm", "weight_norm")
        return {
            "layers": list(self.layers),
            "attentions": list(self.attentions),
            "weights": list(self.weights),
            **{name: plain(getattr(self, name).tolist()) for name in tensors},
            "onsets": [{"step": each.step, **plain(each.finding.to_dict())} for each in self.onsets],
        }

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """`to_dict` as JSON, written to `path` if one is given; infinite numbers are the strings "inf" and "-inf"."""
        text = json.dumps(self.to_dict())
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def _columns(self) -> dict[str, list[float]]:
        """The numbers of every quantity and layer that were measured at all, by names such as "moment/layer1"."""
        found: dict[str, list[float]] = {}
        for quantity in (*LOGGED, *ATTENTION):
            labels = self.attentions if quantity in ATTENTION else self.layers
            for name, column in zip(logged_names(labels), getattr(self, quantity).T):
                if not column.isnan().all():
                    found[f"{quantity}/{name}"] = column.tolist()
        return found


def record_of(
    step: int, loss: float, calls: dict[str, LayerCall], weights: Sequence[str], norms: list[list[float]]
) -> Record:
    """One record: plain values and tensors only, so that a checkpoint can hold it."""
    rows = [each.row for each in calls.values()]
    numbers = [[getattr(row, name) for name in COLUMNS] for row in rows]
    return {
        "step": step,
        "loss": loss,
        "layers": list(calls),
        "numbers": torch.tensor(numbers, dtype=torch.float64, device="cpu").reshape(-1, len(COLUMNS)),
        "histograms": torch.tensor([each.histogram for each in calls.values() if each.histogram], device="cpu"),
        "with_histogram": [label for label, each in calls.items() if each.histogram],
        "weights": list(weights),
        "norms": torch.tensor(norms, dtype=torch.float64, device="cpu"),
    }


def signals_of(records: Sequence[Record], onsets: tuple[Onset, ...]) -> TrainingSignals:
    """The records as tensors; layers and weights that are not in all of them have NaN in the others."""
    layers = places(label for each in records for label in each["layers"])
    weights = places(name for each in records for name in each["weights"])
    bins = BINS if any(each["with_histogram"] for each in records) else 0
    numbers = torch.full((len(records), len(layers), len(COLUMNS)), nan, dtype=torch.float64, device="cpu")
    attentions = places(label for each in records for label in each.get("attention", ()))
    looks = torch.full((len(records), len(attentions), 2), nan, dtype=torch.float64, device="cpu")
    norms = torch.full((len(records), 3, len(weights)), nan, dtype=torch.float64, device="cpu")
    histograms = torch.full((len(records), len(layers), bins), nan, device="cpu")
    for index, each in enumerate(records):
        numbers[index, [layers[label] for label in each["layers"]]] = each["numbers"]
        norms[index][:, [weights[name] for name in each["weights"]]] = each["norms"]
        for label, look in each.get("attention", {}).items():  # which records of earlier releases do not have
            looks[index, attentions[label]] = torch.tensor(look, dtype=torch.float64, device="cpu")
        if each["with_histogram"]:
            shown = [layers[label] for label in each["with_histogram"]]
            histograms[index, shown] = each["histograms"] / each["histograms"].sum(1, keepdim=True).clamp(min=1)
    return TrainingSignals(
        steps=torch.tensor([each["step"] for each in records], dtype=torch.int64, device="cpu"),
        loss=torch.tensor([each["loss"] for each in records], dtype=torch.float64, device="cpu"),
        layers=tuple(layers),
        **{name: numbers[..., place] for place, name in enumerate(COLUMNS)},
        attentions=tuple(attentions),
        entropy=looks[..., 0],
        logit=looks[..., 1],
        weights=tuple(weights),
        gradient_norm=norms[:, 0],
        update_norm=norms[:, 1],
        weight_norm=norms[:, 2],
        histograms=histograms,
        edges=EDGES,
        onsets=onsets,
    )


def numbers_of(record: Record) -> dict[str, float]:
    """What a logger gets of one record: the loss, then a number per quantity and layer; nothing that is NaN."""
    columns = signals_of([record], ()).to_dict(flat=True)
    return {name: float(column[0]) for name, column in columns.items() if name != "step" and not isnan(column[0])}


def logged_names(labels: Iterable[str]) -> list[str]:
    """The labels in letters that every logger takes: of "fc1#2" comes "fc1.2", of "relu()" "relu", of "" "model"."""
    found: dict[str, None] = {}
    for label in labels:
        name = re.sub(r"[^-\w./]", "_", label.replace("()", "").replace("#", ".")) or "model"
        while name in found:
            name += "_"
        found[name] = None
    return list(found)


def places(names: Iterable[str]) -> dict[str, int]:
    """Each name once, and where it first stands."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}
