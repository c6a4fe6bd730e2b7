"""`diagnose` takes any model that torch can train."""

import json

import pytest
import torch
from torch import nn

from d2lstab import FAULTS, diagnose
from tests.architectures import ARCHITECTURES, build
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
