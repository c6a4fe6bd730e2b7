"""Small stand-ins for a diagnosed network, of which one number is set: just short of a threshold, and just beyond."""

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module
from math import exp, nan, sqrt
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import d2lstab.diagnosis
import d2lstab.monitoring
import d2lstab.trainability
from d2lstab import seeded
from d2lstab.diagnosis import Finding
from d2lstab.recording import SignalRow

PACKAGES = (d2lstab.diagnosis, d2lstab.monitoring, d2lstab.trainability)
NAMES = [each.name for package in PACKAGES for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
MODULES = {name: import_module(name) for name in ("d2lstab.borrowing", *NAMES)}
# What the modules define, by its name; of two of one name the rules', which ask, and not what they ask for.
INSIDE = {
    name: thing
    for module in MODULES.values()
    for name, thing in vars(module).items()
    if getattr(thing, "__module__", None) == module.__name__ and (inspect.isroutine(thing) or inspect.isclass(thing))
}


class Case(NamedTuple):
    """What is asked, and two numbers: at the first the answer is no, at the second yes."""

    asked: Callable[[Any], Any]
    silent: Any
    told: Any

    def holds(self) -> bool:
        return not self.asked(self.silent) and bool(self.asked(self.told))


def rule(name: str, *arguments, **known) -> Finding | None:
    """What a rule says of evidence of which only this is known."""
    return INSIDE[name](evidence(*arguments, **known))


def severe(finding: Finding | None) -> bool:
    return finding is not None and finding.severity == "fault"


def row(kind: str = "Linear", name: str = "layer", *, shape: tuple[int, ...] = (1,), **numbers) -> SignalRow:
    usual = {"moment": 1.0, "variation": 1.0, "gradient": 1.0, "dead": 0.0, "saturated": 0.0, "largest": 1.0}
    return SignalRow(name, 1, kind, shape, numbers.pop("dtype", "float32"), **usual | numbers)


def rows(*moments: float, **numbers) -> list[SignalRow]:
    return [row(name=str(place), moment=moment, **numbers) for place, moment in enumerate(moments)]


def evidence(
    *seen: SignalRow,
    model: nn.Module | None = None,
    inputs: Tensor | None = None,
    targets: Any = None,
    loss: Any = None,
    optimizer: Any = None,
    look: dict[str, Any] | None = None,
    trains: float = nan,
    **known: Any,
) -> Any:
    """Evidence with these rows and numbers, in place of those that would be measured."""
    model, inputs = model or nn.Identity(), torch.zeros(4, 2) if inputs is None else inputs
    originals = tuple(each.detach().clone() for each in model.parameters())
    subject = INSIDE["Subject"](model, (inputs,), {}, targets, loss, optimizer, originals)
    shown: dict[str, Any] = {"output": None, "loss": 1.0, "gradients": {}} | (look or {})
    shown = {"outputs": shown["output"], "signals": SimpleNamespace(rows=list(seen))} | shown
    made = INSIDE["Evidence"](subject, INSIDE["Look"](**shown))
    made.trainability = INSIDE["Trainability"](trains, trains)
    usual = {"chance": 1.0, "scale": 1.0, "spread": 1.0, "look": made.first, "strayed": 1.0, "small": False}
    vars(made).update(usual | known)
    return made


CASES: dict[str, Case] = {}

# Depth


def grown(forward: float, *, start: float = 4.0, number: int = 5) -> Finding | None:
    """Signals that grow so many times over all layers but the last."""
    steps = [forward ** (place / max(1, number - 2)) for place in range(number - 1)]
    return rule("exploding", *rows(*(start * step**2 for step in steps), 1.0, gradient=0.0))


def grown_back(growth: float, largest: float) -> Finding | None:
    """Gradients that grow so many times on the way back, to a size at which so much is felt."""
    last = row(gradient=(largest / growth) ** 2)
    return rule("exploding", row(gradient=largest**2), *[row(gradient=last.gradient)] * 3, last)


def confirmed(change: float) -> Finding | None:
    """Gradients that grow, and a layer that changes the loss so much when it is shaken."""
    shake = float(torch.randn(1, generator=seeded(0)))
    seen = [row(name="0", gradient=1e10), *rows(1, 1, 1)]
    return rule(
        "exploding", *seen, model=(model := nn.Sequential(nn.Identity())), modules={"0": model[0]},
        inputs=torch.ones(1, dtype=torch.float64), loss=lambda out: 1 + change / abs(shake) * out.sum(),
    )  # fmt: skip


def only_the_head(first: float, ratio: float) -> Finding | None:
    """A loss that feels nothing of a network whose signals have these moments before the last layer."""
    return rule("vanishing", *rows(first, first * ratio, 1e-8, gradient=1e-20))


def in_one_layer(drop: float) -> bool:
    """Whether differences that are lost are said to be lost in one layer, which leaves so many e-foldings less."""
    finding = rule("vanishing", row(variation=1.0), row(variation=exp(-drop)), spread=1e-3)
    return finding is not None and finding.fault == "blind"


def begins(growth: float) -> bool:
    """Whether an explosion begins with the second layer, which makes so much of the first one's signal."""
    finding = rule("exploding", *rows(1.0, growth, 1e6, 1e6, 1.0, gradient=0.0))
    return finding is not None and finding.layer == "1"


def weak(**known) -> Finding | None:
    return rule("untrainable", row(gradient=known.pop("felt", 1.0) ** 2), row(), **{"trains": 0.3} | known)


CASES |= {
    "signals grow": Case(grown, 95, 105),
    "signals grow to a size": Case(lambda size: grown(950, start=(size / 950) ** 2), 95, 105),
    "signals grow over layers": Case(lambda number: grown(1e3, number=number), 3, 4),
    "gradients grow": Case(lambda growth: grown_back(growth, 100), 950, 1050),
    "gradients grow to a size": Case(lambda size: grown_back(5e3, size), 9.5, 10.5),
    "shaking a layer confirms it": Case(confirmed, 2.9, 3.1),
    "an explosion begins": Case(begins, 1.9, 2.1),
    "differences are lost": Case(lambda spread: rule("vanishing", row(), spread=spread), 5.2e-3, 4.8e-3),
    "gradients are lost": Case(lambda felt: rule("vanishing", row("ReLU", gradient=felt**2)), 1.05e-3, 0.95e-3),
    "signals are lost before the head": Case(lambda ratio: only_the_head(1, ratio), 1.1e-2, 0.9e-2),
    "signals are tiny from the start": Case(lambda first: only_the_head(first, 1), 1.1e-4, 0.9e-4),
    "differences are lost in one layer": Case(in_one_layer, 4.0, 4.3),
    "it is unlikely to train": Case(lambda trains: weak(trains=trains, felt=1e-3), 0.37, 0.33),
    "it is most unlikely to train": Case(lambda trains: severe(weak(trains=trains, felt=1e-3)), 0.26, 0.24),
    "it is unlikely to train and signals grow": Case(
        lambda growth: rule("untrainable", *rows(1, growth), trains=0.3), 95, 105
    ),
    "it is unlikely to train and differences are small": Case(lambda spread: weak(spread=spread), 0.055, 0.045),
    "it is unlikely to train and gradients are small": Case(lambda felt: weak(felt=felt), 0.011, 0.009),
}

# Sizes


def sized(size: float, moving: float = 1.0) -> Tensor:
    """Inputs of this root mean square, of which this share differs between samples."""
    ways = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    return size * (sqrt(1 - moving**2) + moving * ways)


def fed(size: float, moving: float = 1.0, *, felt: float = 1.0, variation: float = 1.0, ratio: float = 1.0):
    """What is said of inputs of a size, that are felt so much; the first loss is so many times that of chance."""
    first = row(gradient=felt**2, variation=variation)
    return rule("input_scale", first, inputs=sized(size, moving), look={"loss": ratio})


def flattened(saturated: float = 1.0, weight: float = 1.0, size: float = 30.0) -> Finding | None:
    """What is said of large inputs to a layer of such weights before an activation that is flat for a share of them."""
    layer = nn.Linear(2, 2, bias=False)
    nn.init.constant_(layer.weight, (weight / 2) ** 0.5)
    seen = row(gradient=1.0), row("Tanh", saturated=saturated)
    return rule("input_scale", *seen, inputs=sized(size), layers={"layer": layer})


def beyond(share: float, by: float = 1.0, low: bool = False) -> Finding | None:
    """Targets of which a share is beyond what a sigmoid can say, by so much."""
    targets = torch.full((100, 1), 0.5, dtype=torch.float64)
    targets[: round(100 * share)] = -by if low else 1 + by
    output = torch.zeros(100, 1)
    return rule("target_scale", row("Sigmoid", shape=(100, 1)), targets=targets, look={"output": output})


def unreachable(size: float) -> Finding:
    """Targets of this size after a sigmoid."""
    output, last = torch.full((100, 1), 0.5), row("Sigmoid", shape=(100, 1))
    return rule("target_scale", last, targets=torch.full((100, 1), float(size)), look={"output": output})


def uncertain(share: float = 0.5, by: float = 1.0) -> Finding | None:
    """Targets of a binary cross-entropy, of which this share lies so far above 1, or as far below 0."""
    targets = torch.full((10_000, 1), 0.5, dtype=torch.float64)
    targets[: round(10_000 * share)] = 1 + by if by > 0 else by
    loss, look = F.binary_cross_entropy_with_logits, {"output": torch.zeros(10_000, 1, dtype=torch.float64)}
    return rule("target_scale", row(), targets=targets, loss=loss, look=look)


class Faint(nn.Module):
    """Ones, and so much of the input."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return 1 + self.share * x


def heard(change: float, samples: int = 8) -> Finding | None:
    """Outputs that change by so much when samples exchange their inputs."""
    x = torch.arange(samples, dtype=torch.float64)[:, None]
    order = torch.arange(samples).roll(1)
    return rule("unread", model=Faint(change / float((x - x[order]).abs().max() or 1)), inputs=x)


def column(samples: int) -> Finding | None:
    """Actions, and a column of what they earned."""
    targets = torch.zeros(samples), torch.arange(1.0, samples + 1)[:, None]
    look = {"output": torch.zeros(samples, dtype=torch.float64)}
    return rule("target_shape", targets=targets, look=look, loss=lambda out, t: (out * t[1]).sum())


def far(size: float) -> Finding | None:
    return rule("target_scale", row(), targets=size * torch.ones(4, 1), look={"output": torch.zeros(4, 1)})


def above(ratio: float, *moments: float, trains: float = 0.9) -> Finding | None:
    """A first loss so many times that of chance, with layers of these moments."""
    return rule("output_scale", *rows(*(moments or (1.0, 1.0))), look={"loss": ratio}, trains=trains)


CASES |= {
    "targets are beyond what is said": Case(beyond, 0.04, 0.06),
    "targets are above it": Case(lambda by: beyond(0.5, by), 0.8e-6, 1.2e-6),
    "targets are below it": Case(lambda by: beyond(0.5, by, low=True), 0.8e-6, 1.2e-6),
    "targets are far larger than outputs": Case(far, 950, 1050),
    "targets are no probabilities": Case(uncertain, 0.9e-3, 1.1e-3),
    "targets are above any probability": Case(lambda by: uncertain(by=by), 0.8e-6, 1.2e-6),
    "targets are below any probability": Case(lambda by: uncertain(by=-by), 0.8e-6, 1.2e-6),
    "outputs follow their inputs": Case(lambda change: not heard(change), 0.9e-6, 1.1e-6),
    "samples are enough to be exchanged": Case(lambda samples: heard(0.0, samples), 2, 3),
    "samples are enough to earn": Case(column, 2, 3),
    "targets are far even without the last activation": Case(
        lambda size: "and train on" in unreachable(size).remedy, 9, 11
    ),
    "inputs are large and felt": Case(lambda size: fed(size, felt=50), 19, 21),
    "large inputs are felt": Case(lambda felt: fed(30, felt=felt), 38, 42),
    "large inputs flatten an activation": Case(flattened, 0.45, 0.55),
    "large inputs flatten it, not large weights": Case(lambda square: flattened(weight=square), 1.6, 1.4),
    "inputs that flatten it are large": Case(lambda size: flattened(size=size), 18, 22),
    "large inputs lead far from chance": Case(lambda ratio: fed(30, ratio=ratio), 4.8, 5.2),
    "inputs are somewhat large and felt much": Case(lambda size: fed(size, felt=100), 4.8, 5.2),
    "somewhat large inputs are felt much": Case(lambda felt: fed(10, felt=felt), 76, 84),
    "inputs are small and lost": Case(lambda size: fed(size, variation=0.01), 0.055, 0.045),
    "small inputs are lost": Case(lambda variation: fed(0.01, variation=variation), 0.11, 0.09),
    "small inputs are not felt": Case(lambda felt: fed(0.01, felt=felt), 0.055, 0.045),
    "inputs hardly differ": Case(lambda moving: fed(2, moving, variation=0.01), 0.16, 0.14),
    "inputs that hardly differ have a size": Case(lambda size: fed(size, 0.1, variation=0.01), 0.95, 1.05),
    "inputs that hardly differ are lost": Case(lambda variation: fed(2, 0.1, variation=variation), 0.11, 0.09),
    "large inputs lead to where nothing recovers": Case(lambda ratio: severe(fed(30, ratio=ratio)), 480, 520),
    "the first loss is far from chance": Case(above, 48, 52),
    "the last layer amplifies": Case(lambda moment: above(10, 1, moment), 15, 17),
    "an amplified loss is far from chance": Case(lambda ratio: above(ratio, 1, 20), 4.8, 5.2),
    "a loss far from chance stops it": Case(lambda trains: above(10, trains=trains), 0.52, 0.48),
    "outputs are so large that nothing recovers": Case(lambda ratio: severe(above(ratio, 2, 2)), 480, 520),
    "outputs, and not targets, are of another size": Case(lambda moment: severe(above(600, moment, moment)), 0.9, 1.1),
}

# Flat, dead, copied, lost in a format


def dull(kind: str, number: int, of: int, **numbers) -> list[SignalRow]:
    """Rows of which the first are as the numbers say and the others well."""
    return [*[row(kind, **numbers)] * number, *[row(kind)] * (of - number), row()]


def gazed(sharp: int = 1, of: int = 1, sharpness: float = 0.9, size: float = 6.0, trains: float = 0.4):
    """What is said of so many calls of attention that are sharp."""
    seen = [(sharpness, size)] * sharp + [(0.2, 1.0)] * (of - sharp)
    gazes = [INSIDE["Gaze"]("attention", 8, torch.tensor(each), torch.tensor(width)) for each, width in seen]
    return rule("saturated", row(), look={"gazes": gazes}, trains=trains)


def looked_at(keys: int) -> list:
    gazes = INSIDE["gazes_of"](nn.Identity())
    with gazes:
        F.softmax(torch.zeros(2, 3, keys), dim=-1)
    return gazes.found


def cut(zeros: int) -> Finding | None:
    """A ReLU at the end of a classifier that makes so many of fifty scores 0."""
    output = (torch.arange(50).view(10, 5) >= zeros).float()
    return rule(
        "cut_classes", row("ReLU", shape=(10, 5)), targets=torch.zeros(10, dtype=torch.long), look={"output": output}
    )


def updated(unchanged: float) -> Finding | None:
    return rule("underflow", model=nn.Linear(1, 1).half(), trial=SimpleNamespace(unchanged=unchanged))


def shuffled(grid: float) -> Finding | None:
    """A convolution before a pixel shuffle of whose filters this share differs."""
    conv = nn.Conv2d(1, 4, 1)
    with torch.no_grad():
        signs = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1, 1)
        conv.weight.copy_(sqrt(1 - grid) + sqrt(grid) * signs)
    modules = {"0": conv, "1": nn.PixelShuffle(2)}
    return rule("checkerboard", row("Conv2d", "0"), row("PixelShuffle", "1"), modules=modules)


def normalized(batch: int) -> Finding | None:
    return rule(
        "batch_statistics", row("BatchNorm1d", "0"), inputs=torch.zeros(batch, 2), modules={"0": nn.BatchNorm1d(2)}
    )


def grouped(channels: int) -> int:
    """The groups that a batch normalization of so many channels is replaced by."""
    return INSIDE["group_normalized"](nn.Sequential(nn.BatchNorm1d(channels)))[0].num_groups


CASES |= {
    "a number is near the end of float16": Case(
        lambda largest: rule("overflow", row(dtype="float16", largest=largest)), 16_000, 16_800
    ),
    "a step changes nothing in half precision": Case(updated, 0.88, 0.92),
    "gradients are lost in float16": Case(
        lambda size: rule("underflow", row(dtype="float16", gradient=size**2)), 2.5e-7, 2.3e-7
    ),
    "rectifiers are off": Case(lambda dead: rule("dead", row("ReLU", dead=dead)), 0.94, 0.96),
    "classes are cut off": Case(cut, 9, 11),
    "activations are flat": Case(lambda flat: rule("saturated", row("Tanh", saturated=flat), row()), 0.48, 0.52),
    "a third of them is flat": Case(lambda of: rule("saturated", *dull("Tanh", 1, of, saturated=0.9)), 4, 3),
    "attention is sharp": Case(lambda sharpness: gazed(sharpness=sharpness), 0.76, 0.80),
    "logits are large": Case(lambda size: gazed(size=size), 4.8, 5.2),
    "a third of the calls is sharp": Case(lambda of: gazed(of=of), 4, 3),
    "sharp attention stops it": Case(lambda trains: severe(gazed(trains=trains)), 0.52, 0.48),
    "keys are enough to look at one": Case(looked_at, 3, 4),
    "sub-pixels differ": Case(shuffled, 0.48, 0.52),
    "samples are too few to normalize over": Case(normalized, 4, 3),
    "channels are enough for eight groups": Case(lambda channels: grouped(channels) == 8, 24, 32),
    "channels are enough for four": Case(lambda channels: grouped(channels) == 4, 24, 16),
}

# Chaos, and the scale of weights


def scaled(*ratios: float) -> dict[str, Any]:
    """Tanh layers whose weights are so many times the critical size, and another at the end."""
    modules, seen = {}, []
    for place, ratio in enumerate((*ratios, 1.0)):
        modules[str(place)] = nn.Linear(4, 4)
        nn.init.constant_(modules[str(place)].weight, ratio / 2)
        seen += [row("Linear", str(place)), row("Tanh")]
    return {"rows": seen, "modules": modules}


class Still(nn.Module):
    """Outputs that differ between samples, whatever the inputs are."""

    def __init__(self, outputs: Tensor):
        super().__init__()
        self.outputs = outputs

    def forward(self, _: Tensor) -> Tensor:
        return self.outputs


def strayed(between: float = 1.0, drift: float = 0.0, moves: bool = True) -> bool:
    """Whether chaos can be measured where so much of the outputs differs, and they drift so much by themselves."""
    x = 2 + between * torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    subject = evidence(inputs=x, model=nn.Identity() if moves else Still(x)).subject
    return INSIDE["strayed"](subject, x + drift) == INSIDE["strayed"](subject, x + drift)  # it is no NaN


CASES |= {
    "outputs stray": Case(lambda stray: rule("chaotic", strayed=stray, modules={}), 7.6, 8.4),
    "outputs of large weights stray": Case(lambda stray: rule("chaotic", strayed=stray, **scaled(4, 4, 4)), 2.8, 3.2),
    "weights are large": Case(lambda ratio: rule("chaotic", strayed=5, **scaled(ratio)), 2.4, 2.6),
    "most weights are large": Case(
        lambda number: rule("chaotic", strayed=5, **scaled(*[4] * number, *[1] * (4 - number))), 2, 3
    ),
    "chaos stops it": Case(lambda trains: severe(rule("chaotic", strayed=9, modules={}, trains=trains)), 0.52, 0.48),
    "samples differ enough to ask for chaos": Case(lambda between: strayed(between), 1.9e-3, 2.1e-3),
    "outputs drift too much to ask for chaos": Case(lambda drift: not strayed(drift=drift), 1.9e-4, 2.1e-4),
    "outputs move with inputs": Case(lambda moves: strayed(moves=moves), False, True),
    "standard deviations are told as a range": Case(lambda ratio: " to " in INSIDE["_span"]([1.0, ratio]), 1.08, 1.12),
    "weights are below the critical scale": Case(
        lambda ratio: INSIDE["scale_advice"](evidence(**scaled(ratio)))[0], 0.82, 0.78
    ),
    "weights are above it": Case(lambda ratio: INSIDE["scale_advice"](evidence(**scaled(ratio)))[0], 1.22, 1.28),
}

# Samples, targets, losses


class Mixing(nn.Module):
    """A layer that adds a little of the middle sample to the first ones."""

    def __init__(self, share: float, number: int = 1):
        super().__init__()
        self.share, self.number = share, number

    def forward(self, x: Tensor) -> Tensor:
        mixed = x.clone()
        mixed[: self.number] += self.share * x[len(x) // 2]
        return mixed


class Drifting(nn.Module):
    """A layer that mixes samples, and whose outputs grow by a little in every pass."""

    def __init__(self, drift: float):
        super().__init__()
        self.mixing, self.drift, self.passes = Mixing(0.1), drift, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.mixing(x) + self.drift * self.passes


def mixed(model: nn.Module, samples: int = 4) -> Finding | None:
    x = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(samples)[:samples, None].repeat(1, 5)
    return rule("mixed_samples", model=model, inputs=x, targets=torch.zeros(samples), look={"output": x})


def over_samples(miss: float) -> Finding | None:
    """A softmax whose sums along the samples miss 1 by so much."""
    output = torch.full((4, 3), 0.25, dtype=torch.float64)
    output[0] += miss
    look = {"output": output, "maker": "SoftmaxBackward0"}
    return rule("mixed_samples", targets=torch.zeros(4, dtype=torch.long), look=look)


def squashed(miss: float = 0.0, loss: Any = F.cross_entropy, trains: float = 0.4) -> Finding | None:
    """A softmax, whose sums miss 1 by so much, for a loss."""
    output = torch.full((4, 2), 0.5 + miss / 2, dtype=torch.float64)
    look = {"output": output, "maker": "SoftmaxBackward0"}
    return rule("squashed_twice", targets=torch.zeros(4, dtype=torch.long), loss=loss, look=look, trains=trains)


def shifting(change: float) -> Finding | None:
    """A loss that changes by so much when numbers are added to all classes."""
    generator = seeded(0)
    torch.randn(4, 2, generator=generator)
    added = abs(float(torch.randn(4, 1, generator=generator)[0]))
    start = torch.randn(4, 2, generator=seeded(0)).double()[0, 0]
    return squashed(loss=lambda out, _: 1 + change / 3 / added * (out[0, 0] - start))


def sure(right: float = 0.0, twice: float = 2.0) -> Finding | None:
    """A sigmoid for a loss that is 1 for logits of -30, and so much for right ones and for those twice as wrong."""
    targets = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    losses = {30: right, -30: 1.0, -60: twice}
    look = {"output": torch.full((4, 1), 0.5), "maker": "SigmoidBackward0"}
    return rule(
        "squashed_twice", targets=targets, look=look,
        loss=lambda out, t: torch.tensor(losses[round(float((out * (2 * t - 1)).mean()))]),
    )  # fmt: skip


def paired(change: float = 0.0, samples: int = 3) -> Finding | None:
    """A column of outputs for a row of targets, and a loss that changes by so much when samples are exchanged."""
    orders = [torch.arange(samples), *INSIDE["_orders"](samples)]
    first = [float(torch.randn(samples, 1, generator=seeded(0))[order][0]) for order in orders]
    slope = change / (max(first) - min(first))
    look = {"output": torch.zeros(samples, 1, dtype=torch.float64)}
    return rule(
        "target_shape", targets=torch.arange(samples), look=look,
        loss=lambda out, _: 1 + slope * (out.flatten()[0] - first[0]),
    )  # fmt: skip


def breaking(size: float) -> Finding | None:
    """A loss that is infinite for outputs of this size."""
    look = {"output": torch.ones(4, 1), "maker": "AddmmBackward0"}
    return rule("singular", targets=torch.zeros(4), look=look, loss=lambda out, _: out.sum() / (out.abs().max() < size))


class Angle(nn.Module):
    """The angle whose cosine is so far from 1."""

    def __init__(self, gap: float):
        super().__init__()
        self.gap = gap

    def forward(self, x: Tensor) -> Tensor:
        return torch.acos(torch.ones_like(x) - self.gap)


def alike(most: int, of: int = 100) -> Finding | None:
    """Targets of which so many are 0, the others 1, for a loss that weighs all alike."""
    look = {"output": torch.zeros(of, 2)}
    return rule(
        "imbalanced", targets=(torch.arange(of) >= most).long(), look=look, loss=lambda out, _: out[:, 0].square().sum()
        + out.sum(),
    )  # fmt: skip


CASES |= {
    "another sample is felt": Case(lambda share: mixed(Mixing(share)), 0.45e-3, 0.55e-3),
    "outputs drift too much to ask for other samples": Case(lambda drift: not mixed(Drifting(drift)), 0.95e-3, 1.05e-3),
    "samples are enough to ask": Case(lambda samples: mixed(Mixing(0.1), samples), 3, 4),
    "half of the samples feel another": Case(lambda number: severe(mixed(Mixing(0.1, number), 8)), 3, 4),
    "a softmax is not over samples": Case(lambda miss: not over_samples(miss), 0.9e-2, 1.1e-2),
    "a softmax is not over classes": Case(lambda miss: not squashed(miss), 0.9e-2, 1.1e-2),
    "a loss takes notice of what is added": Case(lambda change: not shifting(change), 0.95e-4, 1.05e-4),
    "right answers that are sure cost something": Case(lambda right: not sure(right=right), 0.9e-3, 1.1e-3),
    "wrong answers cost more than in proportion": Case(lambda twice: not sure(twice=twice), 2.1, 2.3),
    "wrong answers cost less than in proportion": Case(lambda twice: not sure(twice=twice), 1.9, 1.7),
    "squashing twice stops it": Case(lambda trains: severe(squashed(trains=trains)), 0.52, 0.48),
    "a loss tells samples apart": Case(lambda change: not paired(change), 0.9e-5, 1.1e-5),
    "samples are enough to exchange": Case(lambda samples: paired(samples=samples), 2, 3),
    "a loss breaks at logits that networks have": Case(breaking, 21, 19),
    "an arc cosine is next to its end": Case(
        lambda gap: rule("singular", model=Angle(gap), inputs=torch.zeros(4, 1).double(), loss=torch.sum), 6e-7, 4e-7
    ),
    "targets are nearly all the same": Case(alike, 91, 93),
    "targets are enough to say so": Case(lambda of: alike(of - 1, of), 15, 16),
}

# Modes


def learnt(ratio: float) -> Finding | None:
    """A normalization in evaluation, whose inputs have so many times the variance it has learnt."""
    norm = nn.BatchNorm1d(1, eps=0.0).double().eval()
    norm.num_batches_tracked += 1
    model = nn.Sequential(norm).eval()
    return rule("modes_differ", model=model, inputs=sized(sqrt(ratio)), modules={"0": norm})


def dropped(share: float, trains: float = 0.4) -> Finding | None:
    model = nn.Sequential(nn.Dropout(share))
    return rule("modes_differ", model=model, inputs=torch.ones(4, 2), modules={"0": model[0]}, trains=trains)


CASES |= {
    "nearly all is dropped": Case(dropped, 0.84, 0.86),
    "dropping nearly all stops it": Case(lambda trains: severe(dropped(0.9, trains)), 0.52, 0.48),
    "the last batch alone counts": Case(
        lambda momentum: rule("modes_differ", modules={"0": nn.BatchNorm1d(1, momentum=momentum)}), 0.88, 0.92
    ),
    "statistics are of smaller inputs": Case(learnt, 29, 31),
    "statistics are of larger inputs": Case(learnt, 1 / 29, 1 / 31),
}

# Steps


def trial(
    losses: list[float], *, deviations: Any = 1.0, gains: Any = 1.0, rate: float = 0.1, ratio: float = 1e-3
) -> Any:
    """A trial with these losses; a number stands for as many that are equal."""
    deviations, gains = (each if isinstance(each, list) else [each] * len(losses) for each in (deviations, gains))
    return INSIDE["Trial"](losses, {"weight": ratio}, 0.0, deviations, gains, rate)


GOOD = trial([1.0, 0.9, 0.8], rate=0.01)


def stepped(losses: list[float], *, slower: Any = GOOD, advised: Any = GOOD, rule_: str = "step_too_large", **known):
    """What is said of a trial; slower: at a tenth of the rate, which is not tried at any other."""

    def tried(factor: float = 1.0, steps: int = 0) -> Any:
        return slower if factor == 0.1 and not steps else advised

    keys = ("small", "rows", "modules", "chance")
    about = {key: known.pop(key) for key in keys if key in known}
    return rule(rule_, trial=trial(losses, **known), tried=tried, **{"modules": {}} | about)


def gone(deviation: float, gain: float = 0.0, ratio: float = 0.02) -> Finding | None:
    return stepped([1.0, 0.9, 0.9], deviations=[1.0, 1.0, deviation], gains=[1.0, 1.0, gain], ratio=ratio)


def stuck(
    last: int = 30, *, gain: float = 0.05, first: float = 1.0, layers: int = 30, fade: float = 0.3, early: float = 0.9
) -> Finding | None:
    """A deep stack that fades, has learnt nothing after 20 steps, and learns with slower ones early on."""
    losses, better = [1.0, *[0.96] * last], [1.0, *[0.96 * early] * last]
    losses[5] = first
    gains = [0.9] * (last + 1)
    gains[20:21] = [gain] * (last >= 20)
    variations = [1.0] * (layers // 2) + [0.9] * (layers - layers // 2 - 1) + [fade]
    return stepped(
        losses, gains=gains, slower=trial(better), small=True, rows=[row(variation=each) for each in variations]
    )


def left(last: float, slower: float) -> Finding | None:
    """Thirty steps that go up and down, and leave so much of the loss; slower ones leave so much."""
    return stepped([1.0, 1.1, *[last] * 29], slower=trial([1.0, *[slower] * 30]), small=True)


def still(ratio: float, fall: float) -> Finding | None:
    return stepped([1.0, 1.0 - fall], ratio=ratio, rule_="step_too_small")


def numbers(number: int) -> bool:
    finding = stepped([1.0, *[20.0] * (number - 1)])
    return finding is not None and "…" in finding.evidence


def advised(rise: float) -> bool:
    """Whether no rate is advised where slower steps once raise the loss so many times."""
    finding = stepped([1.0, 20.0, 20.0], advised=trial([1.0, rise, 0.5]), slower=trial([1.0, rise, 0.5]))
    return finding is not None and "no rate" in finding.remedy


CASES |= {
    "the loss goes up": Case(lambda highest: stepped([1.0, highest, 1.0, 1.0, 1.0]), 9.5, 10.5),
    "the loss stays up": Case(lambda last: stepped([1.0, last, last, last]), 1.45, 1.55),
    "differences are lost in a step": Case(gone, 0.11, 0.09),
    "what is left of them is worth something": Case(lambda gain: not gone(0.05, gain), 0.009, 0.011),
    "weights that move lose them": Case(lambda ratio: gone(0.05, ratio=ratio), 0.009, 0.011),
    "the loss stays up for good": Case(lambda last: severe(stepped([1.0, 11.0, 1.0, 1.0, last])), 1.45, 1.55),
    "differences are lost for good": Case(
        lambda last: severe(stepped([1.0, 11.0, 1.0], deviations=[1.0, 1.0, last])), 0.011, 0.009
    ),
    "an advised rate raises the loss": Case(advised, 1.15, 1.25),
    "losses are too many to tell": Case(numbers, 7, 8),
    "much of the loss is left": Case(lambda last: left(last, 0.01), 0.48, 0.52),
    "less is left by slower steps": Case(lambda slower: left(0.9, slower), 0.19, 0.17),
    "steps are enough to be stuck": Case(stuck, 19, 20),
    "little is learnt where it is stuck": Case(lambda gain: stuck(gain=gain), 0.11, 0.09),
    "it is still at chance where it is stuck": Case(lambda first: stuck(first=first), 0.96, 0.98),
    "layers are enough to be stuck": Case(lambda layers: stuck(layers=layers), 20, 21),
    "a stack fades": Case(lambda fade: stuck(fade=fade), 0.42, 0.38),
    "more is learnt early by slower steps": Case(lambda early: stuck(early=early), 0.99, 0.97),
    "a step changes no weight": Case(lambda ratio: still(ratio, 0.0), 1.1e-5, 0.9e-5),
    "a step does not change the loss": Case(lambda fall: still(1e-6, fall), 1.1e-5, 0.9e-5),
}

# Time


def through_time(*time: float, felt: float = 1e6, rule_: str = "exploding") -> Finding | None:
    """A recurrent layer with such gradients at each time step, felt so much where they are largest."""
    x = torch.full((4, 1), felt / sqrt(max(time) * 4))
    seen = row("RNN", "rnn", time=time)
    return rule(rule_, seen, inputs=x, modules={})


def forgotten(number: int = 40, reach: int = 39, least: float = 0.0) -> Finding | None:
    """A loss that feels the last of so many steps, and those before `reach` only so much."""
    return through_time(*[least**2] * reach, *[1.0] * (number - reach), felt=1.0, rule_="forgetting")


def over_time(growth: float, gradient: float = 1.0, layer: str = "rnn") -> list[Finding]:
    """A recurrent weight that is felt so much, and the outputs of its layer as their gradient is."""
    known = evidence(row("RNN", "rnn", gradient=gradient), modules={"rnn": nn.RNN(1, 1)})
    return INSIDE["_over_time"](known, {f"{layer}.weight_hh_l0": (growth, 1.0)})


CASES |= {
    "gradients grow through time": Case(lambda growth: through_time(growth**2, 1.0), 950, 1050),
    "gradients that grow through time are felt": Case(lambda felt: through_time(1e8, 1.0, felt=felt), 9.5, 10.5),
    "steps are enough to be forgotten": Case(lambda number: forgotten(number, number - 1), 19, 20),
    "half of the steps are forgotten": Case(lambda reach: forgotten(40, reach), 19, 20),
    "early steps are forgotten": Case(lambda least: forgotten(least=least), 1.1e-4, 0.9e-4),
    "a recurrent weight is felt": Case(over_time, 95, 105),
    "it is compared with outputs that are felt": Case(lambda gradient: over_time(1e6, gradient), 0.0, 1.0),
    "it is compared with those of its layer": Case(lambda layer: over_time(1e6, layer=layer), "other", "rnn"),
}

# Untrained


def cut_off(change: float) -> Finding | None:
    """A layer without a gradient, of which the loss changes by so much when it is shaken as rules do."""
    layer = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(layer.weight)
    stream = MODULES["d2lstab.diagnosis.faults.untrained"]._STREAM
    slope = change / 0.3 / abs(float(torch.randn(1, 1, generator=seeded(stream))))
    return rule(
        "cut_off", row(name="0"), model=nn.Sequential(layer), modules={"0": layer}, untouched={"0.weight"},
        inputs=torch.ones(1, 1).double(), loss=lambda out: 1 + slope * (out.sum() - 1),
    )  # fmt: skip


def missed(number: int) -> bool:
    """Whether not all parameters are told of so many that an optimizer has not."""
    model = nn.ParameterList([nn.Parameter(torch.ones(1)) for _ in range(number)])
    known = evidence(model=model, optimizer=torch.optim.SGD([torch.ones(1)]), untouched=set())
    known.subject.originals = tuple(model)
    finding = INSIDE["untrained"](known)
    return finding is not None and "…" in finding.evidence


class Listing(nn.Module):
    """A model that keeps its weights in a list."""

    def __init__(self, number: int):
        super().__init__()
        self.weights = [torch.ones(1, requires_grad=True) for _ in range(number)]

    def forward(self, x: Tensor) -> Tensor:
        return sum((x * each for each in self.weights), x)


def unregistered(number: int) -> bool:
    """Whether not all shapes are told of so many tensors that are no parameters."""
    model = Listing(number)
    look = {"strangers": tuple(model.weights)}
    finding = rule("untrained", model=model, inputs=torch.ones(2, 1), look=look, untouched=set())
    return finding is not None and "…" in finding.evidence


CASES |= {
    "a layer that is cut off matters": Case(cut_off, 0.9e-5, 1.1e-5),
    "parameters are too many to tell": Case(missed, 3, 4),
    "tensors are too many to tell": Case(unregistered, 3, 4),
}

# What is asked of the whole


def costly(parameters: int = 0, outputs: int = 0) -> bool:
    """Whether a network is too large to be tried again and again."""
    model = nn.ParameterList([torch.empty(parameters, device="meta")])
    known = evidence(row(name="0", shape=(outputs,)), model=nn.Identity(), modules={"0": nn.Linear(10, 1)})
    known.subject.model = model
    del vars(known)["small"]
    return not known.small


def counted(number: int, small: bool) -> bool:
    """Whether fewer steps than this number are tried."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    known = evidence(model=model, optimizer=optimizer, inputs=torch.ones(4, 2), loss=lambda out: out.sum() ** 2 + 1)
    vars(known)["small"] = small
    known.subject.originals = tuple(model.parameters())
    return len(known.tried().losses) - 1 < number


def weighed(trains: float) -> bool:
    return severe(INSIDE["weighed"](Finding("exploding", "", "", "", severity="warning"), evidence(trains=trains)))


def unsure(odds: float) -> bool:
    """Whether a healthy network's report says that it was taught little."""
    known = evidence()
    report = d2lstab.diagnosis.Diagnosis(
        (), INSIDE["Trainability"](odds, nan), known.first.signals, (), (), known.subject
    )
    return "taught it little" in repr(report)


def measured(samples: int = 2, parameters: int = 8) -> Any:
    """The forecast for a network of this size with a batch of this size."""
    model = nn.Sequential(nn.Linear(2, 2))
    model.ballast = nn.Parameter(torch.zeros(1).expand(parameters - 6), requires_grad=False)
    x = torch.arange(2.0 * samples).view(samples, 2).sin()
    return INSIDE["trainability"](model, x, x.cos(), None)


def borrowed_deep(depth: int) -> bool:
    """Whether what a model keeps so deep in lists is left as a pass has changed it."""
    model, inner = nn.Identity(), []
    model.kept = inner
    for _ in range(depth):
        inner.append([])
        (inner,) = inner
    with INSIDE["borrowed"](model):
        inner.append(1)
    return inner == [1]


def borrowed_long(length: int) -> bool:
    """Whether what a model keeps in a list of so many entries is left as a pass has changed it."""
    model, inner = nn.Identity(), []
    model.kept = [inner] * length
    with INSIDE["borrowed"](model):
        inner.append(1)
    return inner == [1]


CASES |= {
    "parameters are many": Case(lambda parameters: costly(parameters=parameters), 9_500_000, 10_500_000),
    "multiplications are many": Case(lambda outputs: costly(outputs=outputs), 95_000_000, 105_000_000),
    "steps of a small network": Case(lambda number: counted(number, small=True), 30, 31),
    "steps of a large one": Case(lambda number: counted(number, small=False), 3, 4),
    "what slows it down stops it": Case(weighed, 0.52, 0.48),
    "a healthy network was taught little": Case(unsure, 0.52, 0.48),
    "parameters are too many for a forecast": Case(
        lambda parameters: "more than" in measured(parameters=parameters).note, 48_000_000, 52_000_000
    ),
    "samples are enough for a forecast": Case(lambda samples: not measured(samples).note, 3, 4),
    "not all samples are used for a forecast": Case(
        lambda samples: measured(samples).quantities["samples"] < samples, 31, 34
    ),
    "what is kept too deep is not looked for": Case(borrowed_deep, 4, 5),
    "what is kept in a long list is not looked for": Case(borrowed_long, 9_900, 10_100),
}
