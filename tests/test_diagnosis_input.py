"""Bad input gets an error that says what was given and what to do; the model stays as it was."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import diagnose

INPUTS, TARGETS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_what_is_no_model_loss_or_optimizer_is_refused():
    with pytest.raises(TypeError, match="of type str\nexpected a torch.nn.Module"):
        diagnose("resnet", INPUTS)
    with pytest.raises(TypeError, match="loss='mse' of type str\nexpected a function"):
        diagnose(model(), INPUTS, TARGETS, "mse")
    with pytest.raises(TypeError, match="optimizer='sgd' of type str\nexpected a torch.optim.Optimizer"):
        diagnose(model(), INPUTS, optimizer="sgd")


def test_a_model_that_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="it has no parameters\nexpected at least one"):
        diagnose(nn.ReLU(), INPUTS)
    with pytest.raises(ValueError, match="no parameter requires grad\nexpected at least one"):
        diagnose(model().requires_grad_(False), INPUTS)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"inputs of shape \(0, 4\)\nexpected at least one sample"):
        diagnose(model(), INPUTS[:0])
    with pytest.raises(ValueError, match="inputs hold no tensor\nexpected a batch"):
        diagnose(model(), ["text"])


def test_a_loss_that_is_no_scalar_is_refused():
    with pytest.raises(ValueError, match=r"returned \(float32 \(6, 2\)\)\nexpected a scalar tensor"):
        diagnose(model(), INPUTS, TARGETS, lambda outputs, targets: outputs)
    with pytest.raises(ValueError, match="returned 1.0\nexpected a scalar tensor"):
        diagnose(model(), INPUTS, TARGETS, lambda outputs, targets: 1.0)


def test_a_loss_that_depends_on_no_parameter_is_refused():
    with pytest.raises(ValueError, match="depends on no parameter that requires grad\nexpected outputs"):
        diagnose(model(), INPUTS, TARGETS, lambda outputs, targets: F.cross_entropy(outputs.detach(), targets))


def test_a_loss_of_two_arguments_without_targets_is_told_what_it_is_called_with():
    with pytest.raises(ValueError, match=r"fails on outputs .*\nexpected a loss of the outputs alone, loss\(outputs\)"):
        diagnose(model(), INPUTS, loss=lambda outputs, targets: outputs.mean())


def test_targets_of_the_wrong_type_or_shape_are_told_with_both_shapes():
    with pytest.raises(ValueError, match=r"outputs \(float32 \(6, 2\)\) and targets \(float32 \(6,\)\)") as raised:
        diagnose(model(), INPUTS, TARGETS.float(), F.cross_entropy)
    assert "class numbers as torch.long" in str(raised.value)
    with pytest.raises(ValueError, match="no loss given.*\nexpected loss="):
        diagnose(model(), INPUTS, torch.randn(6, 3))


def test_the_models_own_error_passes_through_and_names_the_layer():
    broken = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(9, 2)))
    before = {name: value.clone() for name, value in broken.state_dict().items()}
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as raised:
        diagnose(broken, INPUTS)
    if sys.version_info >= (3, 11):
        assert "raised in layer '1.1'" in raised.value.__notes__[0]
    assert all(torch.equal(before[name], value) for name, value in broken.state_dict().items())


def test_the_optimizer_of_another_model_is_the_verdict():
    report = diagnose(model(), INPUTS, TARGETS, optimizer=torch.optim.SGD(model().parameters(), lr=0.1))
    assert (report.verdict, report.findings[0].severity) == ("untrained", "fault")
    assert "the SGD holds no parameter of this Sequential" in report.findings[0].evidence
    assert "after the model was made" in report.findings[0].remedy


def test_inputs_on_another_device_are_refused_before_the_model_runs():
    with pytest.raises(ValueError, match="the model is on meta, inputs and targets on cpu\nexpected one device"):
        diagnose(model().to("meta"), INPUTS)


def test_a_scripted_model_is_refused_with_what_to_pass_instead():
    class Scripted(torch.jit.ScriptModule):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

    with pytest.raises(TypeError, match="compiled by torch.jit\nexpected the module it was made from"):
        diagnose(Scripted(), INPUTS)
