"""`diagnose` takes any model that torch can train."""

import copy
import dataclasses
import json
import pickle
from math import isnan

import pytest
import torch
from torch import nn

from d2lstab import FAULTS, diagnose, record
from tests.architectures import ARCHITECTURES, build
from tests.strangers import STRANGERS, stranger
from tests.test_diagnosis_trace import loss, world

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gets_a_report_with_and_without_loss_and_optimizer(name):
    model, inputs, targets = build(name)
    for report in (
        diagnose(model, inputs),
        diagnose(model, inputs, targets, loss),
        diagnose(model, inputs, targets, loss, optimizer=torch.optim.SGD(model.parameters(), lr=1e-3)),
    ):
        assert report.verdict in FAULTS
        assert len(report.signals) > 0
        assert json.loads(report.to_json())["verdict"] == report.verdict


SMALL = {"batch of one", "single layer", "complex", "stateful"}  # the last clamps its own weights


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - SMALL))
def test_no_architecture_is_faulty_because_of_its_kind(name):
    model, inputs, targets = build(name)
    assert diagnose(model, inputs, targets, loss).verdict == "healthy"


@pytest.mark.parametrize("name", STRANGERS)
def test_a_model_as_others_write_it_gets_a_whole_report_and_is_left_as_it_was(name):
    model, inputs, targets, its_loss, optimizer = stranger(name)
    before = world(model)
    report = diagnose(model, inputs, targets, its_loss, optimizer=optimizer(model))
    assert world(model) == before
    assert report.verdict == "healthy", report
    assert not isnan(report.trainability.sgd), report
    assert json.loads(report.to_json())["verdict"] == "healthy"
    assert len(report._repr_html_()) > 100
    with record(model, full=True) as signals:
        model(inputs)
    assert len(signals.rows) == len(report.signals)


@pytest.mark.parametrize("name", STRANGERS)
def test_a_report_is_stored_and_copied_without_the_model(name):
    model, inputs, targets, its_loss, optimizer = stranger(name)
    report = diagnose(model, inputs, targets, its_loss, optimizer=optimizer(model))
    for other in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
        assert repr(other) == repr(report)
        assert other.to_json() == report.to_json()
        assert other.subject is None


def test_a_copy_of_a_report_repairs_nothing_and_says_why():
    model = nn.Sequential(*[each for _ in range(8) for each in (nn.Linear(5, 5), nn.Sigmoid())], nn.Linear(5, 3))
    report = diagnose(model, torch.randn(16, 5), torch.arange(16) % 3)
    with pytest.raises(ValueError, match="this report is a copy.*\nexpected the report that diagnose returned"):
        dataclasses.replace(report, subject=None).repaired()
    with pytest.raises(ValueError, match="verdict"):  # it keeps no repair, which would hold a part of the batch
        copy.deepcopy(report).repaired()


def test_nan_that_a_loss_refuses_is_found_in_the_forward_pass():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 1)

        def forward(self, x):
            return (self.layer(x) - 10).sqrt().sigmoid()

    report = diagnose(Root(), torch.randn(8, 5), torch.ones(8, 1), nn.BCELoss())
    assert report.verdict == "non_finite_forward"
    assert "sqrt" in report.findings[0].evidence
    with pytest.raises(ValueError, match="the loss fails"):  # of numbers it is still the loss that is asked about
        diagnose(nn.Linear(5, 1), torch.randn(8, 5), 3 * torch.ones(8, 1), nn.BCELoss())


def test_a_lazy_model_is_diagnosed_and_stays_lazy():
    model = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(4))
    state = torch.get_rng_state()
    assert diagnose(model, torch.randn(8, 5), torch.arange(8) % 4).verdict == "healthy"
    assert isinstance(model[0], nn.LazyLinear)
    assert torch.nn.parameter.is_lazy(model[0].weight)
    assert not torch.equal(state, torch.get_rng_state())  # the inputs above were drawn, and nothing else
    torch.set_rng_state(state)
    torch.randn(8, 5)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_gets_the_report_of_the_model_inside():
    model, inputs, targets = build("multilayer perceptron")
    compiled = torch.compile(model, backend="eager")
    compiled(inputs)
    before = world(model)
    assert diagnose(compiled, inputs, targets).to_dict() == diagnose(model, inputs, targets).to_dict()
    assert world(model) == before


def test_a_user_under_no_grad_or_inference_mode_gets_the_same_report():
    model, inputs, targets = build("multilayer perceptron")
    expected = diagnose(model, inputs, targets).to_dict()
    with torch.no_grad():
        assert diagnose(model, inputs, targets).to_dict() == expected
    with torch.inference_mode():
        assert diagnose(model, inputs, targets).to_dict() == expected


def test_eval_mode_is_looked_at_as_it_is():
    model = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.9), nn.Linear(16, 4)).eval()
    model(torch.randn(8, 5))
    assert diagnose(model, torch.randn(1, 5), torch.zeros(1).long()).verdict != "batch_statistics"
    assert not model.training


def test_autocast_around_the_call_is_kept():
    model, inputs, targets = build("multilayer perceptron")
    with torch.autocast("cpu", torch.bfloat16):
        rows = diagnose(model, inputs, targets).signals
    assert rows[0].dtype == "bfloat16"


def test_the_same_seed_gives_the_same_report_whatever_the_random_streams():
    model, inputs, targets = build("transformer")  # it has dropout
    first = diagnose(model, inputs, targets).to_dict()
    torch.manual_seed(77)
    assert diagnose(model, inputs, targets).to_dict() == first
