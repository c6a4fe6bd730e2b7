"""A NaN is told with the formula that makes it, and the batch that had it is kept for `diagnose`."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import Monitor
from d2lstab.monitoring.graph import suspicious_formula
from d2lstab.monitoring.kept import MOST_BYTES

SGD = torch.optim.SGD


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def distance(outputs, targets):
    return (outputs - targets).square().sum(1).sqrt().mean()


def safe_distance(outputs, targets):
    return ((outputs - targets).square().sum(1) + 1e-8).sqrt().mean()


def run(model, loss, targets_of, steps: int = 4, bad: int = 2) -> Monitor:
    """Squares of a distance, which is 0 in the step `bad` (from 0) for its first sample."""
    optimizer, generator = SGD(model.parameters(), 0.01), torch.Generator().manual_seed(0)
    with Monitor(model, optimizer=optimizer, every=1, tell=None) as monitor:
        for step in range(steps):
            x = torch.randn(8, 4, generator=generator)
            optimizer.zero_grad()
            y = model(x)
            here = loss(y, targets_of(y) if step == bad else torch.zeros(8, 2))
            here.backward()
            optimizer.step()
            monitor.step(here)
    return monitor


@pytest.mark.parametrize("bad", [0, 2])
def test_the_remedy_is_the_formulas_and_a_fixed_twin_is_silent(bad):
    monitor = run(network(), distance, lambda y: y.detach(), bad=bad)
    onset = monitor.signals.onsets[0]
    assert (onset.step, onset.finding.fault) == (bad + 1, "non_finite_backward")
    assert "torch.sqrt(x + eps)" in onset.finding.remedy and "learning rate" not in onset.finding.remedy
    assert run(network(), safe_distance, lambda y: y.detach(), bad=bad).signals.onsets == ()


def test_diagnose_names_the_operation_on_the_batch_that_was_kept():
    model = network()
    monitor = run(model, distance, lambda y: y.detach())
    assert all(each.isnan().any() for each in model.parameters())  # what training was left with
    now = [each.detach().clone() for each in model.parameters()]
    assert monitor.kept.step == 3 and all(each.isfinite().all() for each in monitor.kept.weights.values())
    with torch.no_grad(), monitor.kept.weights_of_then(dict(model.named_parameters())):
        targets = model(monitor.kept.arguments[0])
    report = monitor.diagnose(targets, distance)
    assert report.verdict == "non_finite_backward" and "sqrt" in str(report)
    assert all(
        torch.equal(
            a,
            b,
        )
        or (a.isnan() == b.isnan()).all()
        for a, b in zip(now, model.parameters())
    )


def test_at_step_one_no_learning_rate_is_to_blame():
    model = network()
    optimizer = SGD(model.parameters(), 0.1)
    with Monitor(model, optimizer=optimizer, every=1, tell=None) as monitor:
        loss = model(torch.full((8, 4), torch.inf)).square().mean()
        loss.backward()
        optimizer.step()
        monitor.step(loss)
    remedy = monitor.signals.onsets[0].finding.remedy
    assert remedy.startswith("no step was made yet") and "monitor.diagnose(targets, loss)" in remedy
    assert "learning rate" not in remedy


X = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
FORMULAS = {
    "sqrt": lambda y: y.square().sum(1).sqrt().mean(),
    "norm": lambda y: y.norm(dim=1).mean() / 4,
    "log": lambda y: -(y.softmax(1).log() * X[:, :2]).sum(1).mean(),
    "div": lambda y: (y / y.sum(1, keepdim=True)).mean(),
    "std": lambda y: (y.std(0) - 1).square().mean(),
    "acos": lambda y: y.tanh().acos().mean() / 3,
}
HARMLESS = {
    "the squared error": lambda y: (y - X[:, :2]).square().mean() / 4,
    "cross-entropy": lambda y: F.cross_entropy(y, torch.zeros(6, dtype=torch.long)) * 0.5,
    "a cube": lambda y: (y**3).mean(),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_formula_is_read_off_the_graph_before_and_after_backward(name):
    loss = FORMULAS[name](nn.Linear(3, 2)(X))
    assert suspicious_formula(loss)[0] == name
    loss.backward()
    assert suspicious_formula(loss)[0] == name


@pytest.mark.parametrize("name", HARMLESS)
def test_a_loss_without_such_a_formula_has_none(name):
    assert suspicious_formula(HARMLESS[name](nn.Linear(3, 2)(X))) is None


def test_what_the_network_computes_is_not_the_losss():
    model = nn.Linear(3, 2)
    assert suspicious_formula(model(model.weight.new_ones(6, 3).requires_grad_().sqrt()).mean()) is None
    assert suspicious_formula(0.5) is None is suspicious_formula(None)


def test_a_batch_that_is_too_large_is_not_held_and_its_absence_is_told():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with Monitor(model, every=1, tell=None) as monitor:
        x = torch.zeros(1).expand(MOST_BYTES // 16 + 1, 4)
        loss = model[1](x[:8]).mean()
        recorder = monitor._recorder
        recorder.outermost.append("")
        recorder.wanted = True
        recorder._keep((x,), {})
        assert recorder.given == {}
        recorder.outermost.pop()
        loss.backward()
        monitor.step(loss)
    with pytest.raises(RuntimeError, match="no batch was kept\nexpected a step that was recorded"):
        monitor.diagnose()
