"""Learning rates: what a trial of the user's optimizer shows, and which rate is advised instead."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import diagnose, mlp, xavier_normal_
from d2lstab.diagnosis.faults.steps import _slower_is_faster
from d2lstab.diagnosis.trial import Trial
from tests.test_diagnosis import X, Y, default, fresh, network


def tried(model: nn.Module, optimizer: torch.optim.Optimizer, targets=Y, loss=None):
    return diagnose(model, X, targets, loss, optimizer=optimizer)


@pytest.mark.parametrize(("kind", "rate"), [(torch.optim.SGD, 1e3), (torch.optim.SGD, 10.0), (torch.optim.Adam, 10.0)])
def test_the_advised_rate_is_one_that_is_no_fault(kind, rate):
    model = fresh(lambda: default(nn.ReLU, 3))
    finding = tried(model, kind(model.parameters(), rate)).findings[0]
    assert finding.fault == "step_too_large"
    advised = finding.expected
    assert 0 < advised < rate
    assert f"lr={advised:.1g}" in finding.remedy
    assert tried(model, kind(model.parameters(), advised)).verdict == "healthy"


def test_a_rise_that_the_next_steps_undo_is_no_fault():
    model = fresh(lambda: default(nn.Tanh, 3))
    report = tried(model, torch.optim.Adam(model.parameters(), 0.1))  # 2.3, 2.3, 3.2, 3.1, 3.5, 3.4 … 0.2
    assert report.verdict == "healthy"


def test_adam_on_fifty_tanh_layers_loses_all_differences():
    model = mlp([64] + [128] * 50 + [10], torch.tanh, initializer=xavier_normal_)
    assert tried(model, torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)).verdict == "healthy"
    assert tried(model, torch.optim.Adam(model.parameters(), 3e-3)).verdict == "step_too_large"


@pytest.mark.parametrize(("slower", "severity"), [(1.5, "warning"), (2.29, None), (2.5, None)])
def test_a_stuck_stack_is_warned_about_if_it_learns_faster_at_a_tenth_of_the_rate(slower, severity):
    def trial(last: float, rate: float) -> Trial:
        losses = torch.linspace(2.4, last, 21).tolist()
        return Trial(losses, {}, 0.0, [0.1] * 21, [0.0] * 21, rate)

    evidence = SimpleNamespace(tried=lambda steps, factor: trial(slower, 0.1 * factor), small=True, chance=2.3)
    finding = _slower_is_faster(evidence, trial(2.3, 0.1))
    assert (finding and finding.severity) == severity
    assert finding is None or finding.expected == pytest.approx(0.01)


def test_a_rate_that_changes_nothing_is_too_small_and_one_that_is_merely_slow_is_not():
    model = network(depth=3)
    assert tried(model, torch.optim.SGD(model.parameters(), 1e-9)).verdict == "step_too_small"
    answer = fresh(lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)))
    slow = torch.optim.SGD(answer.parameters(), 1e-4)
    assert tried(answer, slow, X[:, 20:21] * 3, F.mse_loss).verdict == "healthy"
