"""Each fault is named on a network that has it, with what repairs it; a network that has none is healthy."""

import json
import re
from functools import partial
from importlib import import_module
from itertools import pairwise
from math import log, nan
from unittest.mock import patch

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import FAULTS, diagnose, he_normal_, mlp, normal_, seeded, xavier_normal_
from d2lstab.datasets import digits
from d2lstab.diagnosis.evidence import are_copies
from d2lstab.diagnosis.expectation import activated
from d2lstab.diagnosis.findings import EXPLAINS, PREDICTED
from d2lstab.diagnosis.repairs import revived
from d2lstab.mean_field import variance_map
from d2lstab.trainability.forecast import Trainability
from tests.architectures import Recurrent, Residual

pytestmark = pytest.mark.slow

DATA = digits()
X, Y = DATA.inputs[:64], DATA.targets[:64]


def network(activation=torch.relu, *, depth=8, width=64, initializer=he_normal_, seed=0) -> nn.Module:
    return mlp([64] + [width] * depth + [10], activation, initializer=initializer, seed=seed)


def scaled(model: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)
    return model


def fresh(make, seed: int = 0) -> nn.Module:
    """What `make` returns, its weights from a stream of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def default(activation, depth: int, width: int = 64) -> nn.Module:
    """A multilayer perceptron with torch's own initialization."""
    widths = [64] + [width] * depth
    hidden = [each for a, b in pairwise(widths) for each in (nn.Linear(a, b), activation())]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def constant() -> nn.Module:
    model = default(nn.ReLU, 2)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.01)
    return model


def one_dead_layer() -> nn.Module:
    model = network()
    nn.init.constant_(model.layer3.linear.bias, -50.0)
    return model


def one_blind_layer() -> nn.Module:
    model = network(torch.tanh, initializer=xavier_normal_)
    with torch.no_grad():
        model.layer4.linear.weight.mul_(1e-5)
        model.layer4.linear.bias.fill_(0.5)
    return model


def large_head() -> nn.Module:
    model = network(depth=2)
    with torch.no_grad():
        model.output.weight.mul_(30.0)
    return model


class Upsampling(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.shuffle = nn.Conv2d(1, 16, 3, padding=1), nn.PixelShuffle(2)
        self.last = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        return self.last(self.shuffle(self.conv(x)))


def half(model: nn.Module) -> nn.Module:
    return model.half()


def pictures(batch: int) -> torch.Tensor:
    return torch.randn(batch, 1, 8, 8, generator=seeded(0))


def normalized() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )


def single() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))


def half_of(dropped: float) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(dropped), nn.Linear(32, 10))


def by_hand(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The binary cross-entropy as it stands in books: 0 · log 0 where a sigmoid is 1 to rounding."""
    p = outputs.sigmoid()
    return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()


# name of the fault → model, inputs, targets, loss, and the optimizer where it takes one
SICK = {
    "symmetric": lambda: (fresh(constant), X, Y, F.cross_entropy, None),
    "dead": lambda: (one_dead_layer(), X, Y, F.cross_entropy, None),
    "batch_statistics": lambda: (fresh(normalized), pictures(1), Y[:1], F.cross_entropy, None),
    "target_scale": lambda: (
        fresh(lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())),
        X,
        20.0 + Y[:, None].float(),
        F.mse_loss,
        None,
    ),
    "input_scale": lambda: (fresh(lambda: default(nn.ReLU, 2)), 300.0 * X + 500.0, Y, F.cross_entropy, None),
    "saturated": lambda: (scaled(network(torch.tanh, initializer=xavier_normal_), 30.0), X, Y, F.cross_entropy, None),
    "exploding": lambda: (scaled(network(depth=12), 3.0), X, Y, F.cross_entropy, None),
    "vanishing": lambda: (fresh(lambda: default(nn.Sigmoid, 5)), X, Y, F.cross_entropy, None),
    "blind": lambda: (one_blind_layer(), X, Y, F.cross_entropy, None),
    "chaotic": lambda: (scaled(network(torch.tanh, depth=15, width=128, initializer=xavier_normal_), 3.0), X, Y, F.cross_entropy, None),
    "output_scale": lambda: (large_head(), X, Y, F.cross_entropy, None),
    "checkerboard": lambda: (fresh(Upsampling), pictures(8), torch.zeros(8, 1, 16, 16), F.mse_loss, None),
    "step_too_large": lambda: (model := network(depth=3), X, Y, F.cross_entropy, torch.optim.SGD(model.parameters(), 1e3)),
    "step_too_small": lambda: (model := network(depth=3), X, Y, F.cross_entropy, torch.optim.SGD(model.parameters(), 1e-9)),
    "underflow": lambda: (
        model := half(network(depth=2)), X.half(), Y, lambda o, t: F.cross_entropy(o.float(), t),
        torch.optim.Adam(model.parameters(), 1e-3, eps=1e-8),
    ),
    "overflow": lambda: (half(scaled(network(depth=2), 40.0)), X.half(), Y, lambda o, t: F.cross_entropy(o.float(), t), None),
    "untrained": lambda: (network(depth=3), X, Y, F.cross_entropy, torch.optim.SGD(network(depth=3).parameters(), 0.1)),
    "target_shape": lambda: (fresh(lambda: single()), X, X[:, 20], lambda o, t: (o - t).square().mean(), None),
    "squashed_twice": lambda: (nn.Sequential(*network(depth=2).children(), nn.Softmax(1)), X, Y, F.cross_entropy, None),
    "unsquashed": lambda: (network(depth=3), X, Y, F.nll_loss, None),
    "mixed_samples": lambda: (nn.Sequential(*network(depth=2).children(), nn.LogSoftmax(0)), X, Y, F.nll_loss, None),
    "modes_differ": lambda: (fresh(lambda: half_of(0.9)), X, Y, F.cross_entropy, None),
    "imbalanced": lambda: (network(depth=3), X, Y * (torch.arange(64) < 4), F.cross_entropy, None),
    "singular": lambda: (fresh(lambda: single()), X, (Y[:, None] % 2).float(), by_hand, None),
    "non_finite_forward": lambda: (network(depth=2), X, Y, lambda o, t: o.sum().neg().abs().neg().log(), None),
    "non_finite_backward": lambda: (network(depth=2), X, Y, lambda o, t: (o * 0).sum().sqrt(), None),
}  # fmt: skip

HEALTHY = {
    "He ReLU, 20 layers": lambda seed: (network(depth=20, width=128, seed=seed), X, Y),
    "Xavier tanh, 20 layers": lambda seed: (network(torch.tanh, depth=20, initializer=xavier_normal_, seed=seed), X, Y),
    "torch's default, 3 layers": lambda seed: (fresh(lambda: default(nn.ReLU, 3), seed), X, Y),
    "residual convolutions": lambda seed: (
        fresh(
            lambda: nn.Sequential(nn.Conv2d(1, 8, 3), Residual(8), Residual(8), nn.Flatten(), nn.Linear(288, 10)), seed
        ),
        pictures(64),
        Y,
    ),
    "LSTM": lambda seed: (fresh(lambda: Recurrent(nn.LSTM), seed), X[:, :60].reshape(64, 12, 5), Y % 4),
    "a head that starts at zero": lambda seed: (zero_head(network(depth=4, seed=seed)), X, Y),
    "a regression": lambda seed: (
        fresh(lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)), seed),
        X,
        X[:, :1] * 3 + 40,
    ),
}


def zero_head(model: nn.Module) -> nn.Module:
    nn.init.zeros_(model.output.weight)
    return model


@pytest.mark.parametrize("fault", SICK)
def test_a_network_with_the_fault_gets_it_as_verdict(fault):
    model, inputs, targets, loss, optimizer = SICK[fault]()
    report = diagnose(model, inputs, targets, loss, optimizer=optimizer)
    assert report.verdict == fault, report
    assert report.findings[0].evidence
    assert report.findings[0].remedy


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", HEALTHY)
def test_a_network_without_a_fault_is_healthy(name, seed):
    model, inputs, targets = HEALTHY[name](seed)
    report = diagnose(model, inputs, targets)
    assert report.verdict == "healthy", report


def test_a_low_forecast_without_a_fault_is_a_sentence_of_its_own():
    model, inputs, targets = HEALTHY["He ReLU, 20 layers"](0)
    module = import_module("d2lstab.diagnosis.diagnose")
    for odds, told in ((0.49, "healthy: no fault was seen, though"), (0.51, "healthy: nothing is wrong")):
        with patch.object(module, "trainability", lambda *_, odds=odds: Trainability(odds, 0.1)):
            assert told in repr(diagnose(model, inputs, targets))


@pytest.mark.parametrize(
    ("forecast", "told"),
    [
        (Trainability(0.49, 0.1), "likely to train: SGD 49%, Adam 10%"),
        (Trainability(nan, 1.0), "likely to train: Adam 100%"),
        (Trainability(nan, nan, note="too large"), "likely to train: not measured: too large"),
    ],
)
def test_a_report_tells_the_forecast_that_was_made(forecast, told):
    with patch.object(import_module("d2lstab.diagnosis.diagnose"), "trainability", lambda *_: forecast):
        assert told in repr(diagnose(network(depth=2), X, Y))


def test_a_loss_is_told_with_what_it_is_a_loss_of():
    model = network(depth=2)
    assert "no loss was given" in repr(diagnose(model, X))
    assert diagnose(model, X, loss=lambda o: o.square().mean()).constant_loss != diagnose(model, X, Y).constant_loss


def test_every_fault_is_tried_and_explained():
    assert set(SICK) | {"healthy"} == set(FAULTS)
    assert set(EXPLAINS) | set().union(*EXPLAINS.values()) | PREDICTED <= set(FAULTS)


def test_one_root_cause_comes_first_and_its_consequences_below():
    report = diagnose(*SICK["input_scale"]()[:4], optimizer=None)
    model = fresh(lambda: default(nn.ReLU, 2))
    tried = diagnose(model, 300.0 * X + 500.0, Y, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert report.verdict == tried.verdict == "input_scale"
    assert tried.findings[0].severity == "fault"
    assert "step_too_large" in [finding.fault for finding in tried.findings[1:]]


def test_the_layer_at_which_it_begins_is_named():
    assert diagnose(*SICK["dead"]()[:4]).findings[0].layer.startswith("layer3")
    assert diagnose(*SICK["blind"]()[:4]).findings[0].layer.startswith("layer4")
    assert diagnose(*SICK["symmetric"]()[:4]).findings[0].layer == "0"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_copies_are_units_that_differ_by_rounding_and_no_more(dtype):
    rounding = max(1e-4, 8 * torch.finfo(dtype).eps)
    rows = torch.ones(4, 16, dtype=torch.float64)
    for factor, copies in ((0, True), (0.7, True), (1.5, False)):
        rows[1] = 1 + factor * rounding
        assert are_copies(rows.to(dtype)) is copies
    assert not are_copies(torch.ones(1, 16, dtype=dtype))


def test_the_remedy_names_the_scale_that_the_activation_needs():
    finding = diagnose(scaled(network(depth=20), 3.0), X, Y).findings[0]
    assert "std 0.177 instead of 0.527" in finding.remedy  # √(2/64)


def test_layers_of_different_fan_in_need_different_scales():
    """√(2/64) in the first layer, √(2/16) in the others: one number for all would make one of them too large."""
    net = mlp([64] + [16] * 20 + [10], torch.relu, initializer=partial(normal_, std=1.0), seed=0)
    finding = diagnose(net, X, Y).findings[0]
    assert "needs 0.177 to 0.354" in finding.evidence
    assert "std 0.177 to 0.354 instead of " in finding.remedy


REPAIRABLE = ["squashed_twice", "symmetric", "dead", "batch_statistics", "target_scale", "input_scale", "saturated", "exploding", "vanishing", "blind", "chaotic", "output_scale", "checkerboard"]  # fmt: skip


@pytest.mark.parametrize("fault", REPAIRABLE)
def test_a_repaired_copy_is_healthy_and_the_model_as_it_was(fault):
    model, inputs, targets, loss, _ = SICK[fault]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    repair = diagnose(model, inputs, targets, loss).repaired()
    assert (repair.before.verdict, repair.after.verdict) == (fault, "healthy"), repair.after
    assert repair.model is not model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_no_change_of_the_model_repairs_says_so():
    with pytest.raises(ValueError, match="verdict 'healthy'.*\nexpected a fault"):
        diagnose(network(), X, Y).repaired()
    with pytest.raises(ValueError, match="verdict 'step_too_large' with the remedy: lr="):
        diagnose(*(case := SICK["step_too_large"]())[:4], optimizer=case[4]).repaired()


def test_the_predicted_second_moments_are_those_of_a_wide_network():
    report = diagnose(network(torch.tanh, depth=10, width=512, initializer=xavier_normal_), X, Y)
    rows = [(row.moment, each) for row, each in zip(report.signals, report.expected)][:-1]
    assert all(measured == pytest.approx(expected, rel=0.15) for measured, expected in rows)


@pytest.mark.parametrize(("kind", "f"), [("Tanh", torch.tanh), ("GELU", F.gelu), ("Sigmoid", torch.sigmoid)])
def test_activated_moments_are_those_of_mean_field_theory(kind, f):
    for q in (1e-3, 0.7, 30.0):
        assert activated(kind, q) == pytest.approx(variance_map(f, q, 1.0), rel=2e-3)


def test_the_report_shows_exports_and_draws_itself():
    report = diagnose(*SICK["vanishing"]()[:4])
    text = repr(report)
    assert text.splitlines()[0].strip().startswith("verdict: vanishing")
    assert "remedy" in text
    assert re.search(r"first loss: 2\.\d+; a constant answer has 2\.[23]", text)  # ln 10
    assert report.constant_loss == pytest.approx(log(10), rel=0.05)
    html = report._repr_html_()
    assert html.count("<tr>") >= len(report.signals)
    lines = report.table().splitlines()
    assert [line.split()[0] for line in lines] == ["layer", *(row.label for row in report.signals)]
    assert len({len(line) for line in lines}) == 1
    values = json.loads(report.to_json())
    assert values["findings"][0]["fault"] == "vanishing"
    assert len(values["signals"]) == len(report.signals)
    axes = report.plot()
    assert axes.get_title() == "vanishing"
    assert len(axes.lines) == 3
    plt.close("all")


def test_a_report_names_the_layer_and_what_was_expected():
    report = diagnose(scaled(network(depth=20), 3.0), X, Y)
    assert f"layer: {report.findings[0].layer}" in re.sub(r" +", " ", str(report))


def test_a_rectifier_at_the_end_goes_and_a_layer_before_it_is_drawn_anew():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    assert len(revived("1")(model, 0)) == 1
    assert len(revived("0")(model, 0)) == 2
