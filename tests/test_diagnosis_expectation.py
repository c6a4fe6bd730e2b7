"""Laws of what theory expects of gradients: it agrees with what is measured, and has no say where it knows nothing."""

from math import isnan
from statistics import median

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import diagnose, gaussian_mean, he_normal_, mlp, record, seeded, slope, xavier_normal_
from d2lstab.diagnosis.expectation import activated, expected_gradients, expected_moments
from tests.architectures import Residual

DEPTH = 8


def expected_over_measured(model: nn.Module, inputs: torch.Tensor) -> list[float]:
    """Row by row; NaN where theory has no say."""
    with record(model, full=True) as signals:
        outputs = model(inputs)
        (outputs * torch.randn(outputs.shape, generator=seeded(1))).sum().backward()
    modules = dict(model.named_modules())
    moments = expected_moments(signals.rows, modules, float(inputs.square().mean()))
    gradients = expected_gradients(signals.rows, modules, moments)
    return [expected / row.gradient for expected, row in zip(gradients, signals)]


@pytest.mark.parametrize(("f", "initializer"), [(torch.relu, he_normal_), (torch.tanh, xavier_normal_)])
def test_gradients_of_wide_networks_are_those_expected(f, initializer):
    x = torch.randn(64, 256, generator=seeded(0))
    ratios = [
        expected_over_measured(mlp([256] + [512] * DEPTH + [10], f, initializer=initializer, seed=seed), x)
        for seed in range(5)
    ]
    middle = [median(row) for row in zip(*ratios)]
    assert isnan(middle[-1])  # the outputs go nowhere
    assert len(middle) == 2 * DEPTH + 1
    for value in middle[:-1]:
        assert value == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("conv", [nn.Conv2d(8, 32, 3, stride=2, padding=1), nn.Conv2d(8, 32, 3, groups=4)])
def test_a_convolution_passes_back_what_its_connections_count(conv):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), conv, nn.Flatten(), nn.LazyLinear(5))
    x = torch.randn(8, 3, 24, 24, generator=seeded(0))
    model(x)
    with torch.no_grad():
        for seed, each in enumerate((model[0], model[1], model[3])):
            each.weight.normal_(0, 0.1, generator=seeded(seed))
    first, second, flat, last = expected_over_measured(model, x)
    assert first == pytest.approx(1, rel=0.25)
    assert second == pytest.approx(1, rel=0.25)
    assert flat == pytest.approx(1, rel=0.25)
    assert isnan(last)


@pytest.mark.parametrize(("kind", "f"), [("Tanh", torch.tanh), ("GELU", F.gelu), ("Sigmoid", torch.sigmoid)])
def test_expected_slopes_are_those_of_a_gaussian(kind, f):
    for q in (1e-3, 0.7, 30.0):
        right = gaussian_mean(lambda z: slope(f, z).square(), q)
        assert activated(kind, q, slope=True) == pytest.approx(right, rel=5e-3)


def test_an_output_that_also_goes_around_a_block_has_no_expected_gradient():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inner, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x):
            x = self.first(x)
            return self.last(F.relu(self.inner(x) + x))

    report = diagnose(Around(), torch.randn(64, 16, generator=seeded(0)))
    expected = dict(zip((row.label for row in report.signals), report.expected_gradients))
    assert isnan(expected["first"])
    assert report.signals["first"].joined
    assert not report.signals["relu()"].joined
    assert expected["relu()"] > 0


def test_nothing_is_expected_of_gradients_before_a_normalization():
    report = diagnose(nn.Sequential(Residual(3), nn.Flatten(), nn.Linear(108, 4)), torch.randn(8, 3, 6, 6))
    expected = dict(zip((row.label for row in report.signals), report.expected_gradients))
    assert isnan(expected["0.conv1"])
    assert report.to_dict()["signals"][0]["expected_gradient"] is None
    assert report.to_frame()["expected_gradient"].isna()[0]
    assert report.to_frame()["moment"].tolist() == [row.moment for row in report.signals]
    assert report._repr_html_().count(">expected</th>") == 2
