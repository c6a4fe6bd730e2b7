"""Where NaN begins: the operation, its layer, its line, and the usual formula, forward and backward."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import diagnose
from d2lstab.diagnosis.origin import FORMULAS

BATCH = 6


class Formula(nn.Module):
    """A network with one formula in the middle."""

    def __init__(self, formula):
        super().__init__()
        self.before, self.after, self.formula = nn.Linear(4, 4), nn.Linear(4, 2), formula

    def forward(self, x):
        return self.after(self.formula(self.before(x)))


def zero(h):
    return h * 0.0


FORWARD = {
    "log": (lambda h: torch.log(zero(h)), "log", "log 0"),
    "sqrt": (lambda h: torch.sqrt(-h.abs() - 1), "sqrt", "eps"),
    "0/0": (lambda h: zero(h) / zero(h), "div", "0/0"),
    "exp": (lambda h: torch.exp(h + 200), "exp", "88.7"),
    "masked softmax": (lambda h: torch.softmax(h.masked_fill(torch.ones(4).bool(), -math.inf), -1), "softmax", "finfo"),
    "acos": (lambda h: torch.acos(h.abs() + 2), "acos", "clamp"),
    "0 times inf": (lambda h: zero(h) * math.inf, "mul", "NaN"),
}
BACKWARD = {
    "sqrt": (lambda h: torch.sqrt(zero(h)), "Sqrt", "eps"),
    "norm": (lambda h: h * zero(h).square().sum(-1, keepdim=True).sqrt(), "Sqrt", "eps"),
    "where": (lambda h: torch.where(h > 1e9, torch.log(zero(h)), h), "Log", "log"),
    "power": (lambda h: zero(h) ** 0.5, "Pow", "slope"),
}


@pytest.mark.parametrize("name", FORWARD)
def test_the_first_bad_operation_of_the_forward_pass_is_named_with_its_line_and_formula(name):
    formula, operation, advice = FORWARD[name]
    report = diagnose(Formula(formula), torch.randn(BATCH, 4), torch.zeros(BATCH).long(), F.cross_entropy)
    root = report.findings[0]
    assert report.verdict == "non_finite_forward"
    assert operation in root.evidence
    assert f"test_diagnosis_origin.py:{formula.__code__.co_firstlineno}" in root.evidence
    assert advice in root.remedy


@pytest.mark.parametrize("name", BACKWARD)
def test_the_first_bad_operation_of_the_backward_pass_is_named_with_its_line_and_formula(name):
    formula, node, advice = BACKWARD[name]
    report = diagnose(Formula(formula), torch.randn(BATCH, 4), torch.zeros(BATCH).long(), F.cross_entropy)
    root = report.findings[0]
    assert report.verdict == "non_finite_backward"
    assert node in root.evidence
    assert f"test_diagnosis_origin.py:{formula.__code__.co_firstlineno}" in root.evidence
    assert advice in root.remedy


def test_the_layer_is_named_however_deep():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), Formula(FORWARD["log"][0])), nn.Linear(2, 2))
    assert diagnose(model, torch.randn(BATCH, 4)).findings[0].layer == "1.1"


def test_a_mask_of_minus_infinity_is_no_fault():
    causal = Formula(lambda h: torch.softmax(h.masked_fill(torch.ones(BATCH, 4).triu(1).bool(), -math.inf), -1))
    assert diagnose(causal, torch.randn(BATCH, 4)).verdict == "healthy"


def test_a_loss_that_makes_nan_is_named_as_such():
    model, inputs = nn.Linear(4, 2), torch.randn(BATCH, 4)
    report = diagnose(model, inputs, torch.zeros(BATCH, 2), lambda out, t: torch.log(-out.square() - t).mean())
    assert report.verdict == "non_finite_forward"
    assert "log" in report.findings[0].evidence


def test_whether_the_inputs_of_the_operation_were_clean_is_said():
    overflow = Formula(lambda h: (h.abs() + 1) * 1e38 * 1e10 - math.inf)
    assert "from finite inputs" in diagnose(overflow, torch.randn(BATCH, 4)).findings[0].evidence


def test_inputs_targets_or_weights_that_are_nan_to_begin_with_are_the_root():
    model, inputs, targets = nn.Linear(4, 2), torch.randn(BATCH, 4), torch.randn(BATCH, 2)
    spoiled = inputs.clone()
    spoiled[2, 1] = math.nan
    assert diagnose(model, spoiled, targets).findings[0].layer == "inputs"
    assert diagnose(model, inputs, targets * math.nan).findings[0].layer == "targets"
    with torch.no_grad():
        model.weight[0, 0] = math.nan
    assert diagnose(model, inputs, targets).findings[0].layer == "weight"


def test_what_half_precision_cannot_hold_is_overflow():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).half()
    with torch.no_grad():
        model[0].weight.fill_(3e4)
    report = diagnose(model, torch.ones(BATCH, 4).half())
    assert report.verdict == "overflow"
    assert "65504" in report.findings[0].evidence


class Hidden(torch.autograd.Function):
    """A function of which nothing can be seen: its backward pass makes NaN."""

    @staticmethod
    def forward(ctx, h):
        return h.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * math.nan


def test_an_autograd_function_whose_backward_makes_nan_is_found():
    report = diagnose(Formula(Hidden.apply), torch.randn(BATCH, 4))
    assert report.verdict == "non_finite_backward"
    assert "Hidden" in report.findings[0].evidence


@pytest.mark.parametrize(
    ("targets", "loss", "advice"),
    [
        (torch.full((BATCH,), -100), F.cross_entropy, "every target is ignored"),
        (torch.ones(BATCH, 3).long(), lambda o, t: F.ctc_loss(o[None], t, (1,) * BATCH, (3,) * BATCH), "fewer steps"),
    ],
)
def test_a_loss_of_nothing_has_a_formula_of_its_own(targets, loss, advice):
    report = diagnose(Formula(lambda h: h), torch.randn(BATCH, 4), targets, loss)
    assert report.verdict == "non_finite_forward"
    assert advice in report.findings[0].remedy


def test_the_formula_for_a_standard_deviation_is_finite_for_a_single_entry():
    x = torch.zeros(BATCH, 1, requires_grad=True)
    assert "x.var(-1, correction=0) + eps" in FORMULAS["std"]
    (x.var(-1, correction=0) + 1e-6).sqrt().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
