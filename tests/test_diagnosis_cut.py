"""Layers that get no gradient although the loss depends on them, and those of which that is no fault."""

from collections.abc import Callable
from importlib import import_module
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2lstab import diagnose
from d2lstab.diagnosis.evidence import NOT_MEASURED
from tests.test_diagnosis import X, Y, fresh

module = import_module("d2lstab.diagnosis.diagnose")  # the package has a function of that name


class Between(nn.Module):
    """Something between a body and a head."""

    def __init__(self, between: Callable[[Tensor], Tensor]):
        super().__init__()
        self.between, self.head = between, nn.Linear(64, 10)
        self.body = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))

    def forward(self, x):
        return self.head(self.between(self.body(x)))


class WithoutGradient(Between):
    def forward(self, x):
        with torch.no_grad():
            h = self.body(x)
        return self.head(h)


class TwoAnswers(Between):
    """A second head that the loss does not see, as BERT's pooler."""

    def __init__(self):
        super().__init__(torch.relu)
        self.other = nn.Linear(64, 3)

    def forward(self, x):
        h = self.body(x)
        return self.head(h), self.other(h)


def through(h: Tensor) -> Tensor:
    """Rounded, with the gradient of what was not."""
    return h + (3 * h).round().detach() / 3 - h.detach()


CUT = {
    "detach": lambda: Between(Tensor.detach),
    "data": lambda: Between(lambda h: h.data),
    "round": lambda: Between(lambda h: (3 * h).round()),
    "sign": lambda: Between(torch.sign),
    "comparison": lambda: Between(lambda h: (h > 0).float()),
    "no_grad": lambda: WithoutGradient(torch.relu),
}


def idle(model: nn.Module) -> nn.Module:
    model.unused = nn.Linear(3, 3)
    return model


def frozen(model: nn.Module) -> nn.Module:
    model.body.requires_grad_(False)
    return model


def zeros(model: nn.Module) -> nn.Module:
    for each in (model.head, model.body[2]):
        nn.init.zeros_(each.weight)
    return model


WHOLE = {
    "a gradient": lambda: Between(torch.relu),
    "straight through": lambda: Between(through),
    "frozen": lambda: frozen(Between(Tensor.detach)),
    "a head that the loss does not see": TwoAnswers,
    "an unused layer": lambda: idle(Between(torch.relu)),
}


def told(model: nn.Module):
    with patch.object(module, "trainability", lambda *_: NOT_MEASURED):
        return diagnose(model, X, Y)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CUT)
def test_a_layer_whose_gradient_is_cut_off_is_named(name, seed):
    finding = told(fresh(CUT[name], seed)).findings[0]
    assert (finding.fault, finding.layer, finding.severity) == ("untrained", "body.0", "warning")
    assert "body.0 is exactly 0 or missing, and so for 1 more" in finding.evidence
    assert "detach" in finding.remedy


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", WHOLE)
def test_what_is_not_meant_to_have_one_is_no_fault(name, seed):
    model = fresh(WHOLE[name], seed)
    targets, loss = (
        Y,
        (lambda outputs, y: nn.functional.cross_entropy(outputs[0], y)) if name.startswith("a head") else None,
    )
    with patch.object(module, "trainability", lambda *_: NOT_MEASURED):
        assert diagnose(model, X, targets, loss).verdict == "healthy"


def test_a_stack_of_zeros_is_not_cut_off():
    assert "exactly 0 or missing" not in repr(told(fresh(lambda: zeros(Between(torch.relu)))))


class Adapters(nn.Module):
    """Frozen layers with a product of narrow ones beside each, the second of which starts at 0, and checkpoints."""

    def __init__(self, *, reentrant: bool):
        super().__init__()
        self.reentrant = reentrant
        self.bases = nn.ModuleList(nn.Linear(64, 64).requires_grad_(False) for _ in range(3))
        self.downs = nn.ModuleList(nn.Linear(64, 4, bias=False) for _ in range(3))
        self.ups = nn.ModuleList(nn.Linear(4, 64, bias=False) for _ in range(3))
        self.head = nn.Linear(64, 10)
        for up in self.ups:
            nn.init.zeros_(up.weight)

    def forward(self, x):
        for base, down, up in zip(self.bases, self.downs, self.ups):
            block = lambda h, base=base, down=down, up=up: torch.tanh(base(h) + up(down(h)))
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
@pytest.mark.parametrize(
    ("reentrant", "leaf", "faults"), [(True, False, ["untrained"]), (True, True, []), (False, False, [])]
)
def test_a_look_brings_no_gradient_through_a_checkpoint_that_training_does_not(reentrant, leaf, faults):
    """Inputs of diagnose's own that require a gradient would mend what is asked about; the user's own do."""
    model = fresh(lambda: Adapters(reentrant=reentrant))
    with patch.object(module, "trainability", lambda *_: NOT_MEASURED):
        found = diagnose(model, X.clone().requires_grad_(leaf), Y).findings
    assert [each.fault for each in found] == faults
    assert all("checkpoint" in each.remedy for each in found)
