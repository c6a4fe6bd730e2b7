"""What the length of a sequence does to gradients: they vanish, explode, or do neither."""

from importlib import import_module
from unittest.mock import patch

import pytest
import torch
from torch import nn

from d2lstab import diagnose, seeded
from d2lstab.diagnosis.evidence import NOT_MEASURED
from tests.test_diagnosis import fresh

pytestmark = pytest.mark.slow

module = import_module("d2lstab.diagnosis.diagnose")  # the package has a function of that name


class Reader(nn.Module):
    """A recurrent network that answers after its last step, or, read backwards, after its first."""

    def __init__(self, *, recurrent: float | None, kind: str = "relu", backwards: bool = False):
        super().__init__()
        self.cell, self.output = nn.RNN(3, 32, nonlinearity=kind, batch_first=True), nn.Linear(32, 10)
        self.backwards = backwards
        if recurrent is None:
            nn.init.orthogonal_(self.cell.weight_hh_l0)
        else:
            nn.init.normal_(self.cell.weight_hh_l0, std=recurrent)

    def forward(self, x):
        states = self.cell(x.flip(1) if self.backwards else x)[0]
        return self.output(states[:, -1])


class Early(Reader):
    """One of which only the first step counts: the gradients of all others are 0, or tiny."""

    def forward(self, x):
        states = self.cell(x)[0]
        weights = torch.logspace(0, -30, x.shape[1], dtype=x.dtype)
        return self.output((states * weights[:, None]).sum(1))


def verdict(model: nn.Module, seed: int, steps: int = 60) -> str:
    generator = seeded(seed)
    inputs, targets = torch.randn(32, steps, 3, generator=generator), torch.randint(0, 10, (32,), generator=generator)
    with patch.object(module, "trainability", lambda *_: NOT_MEASURED):
        return diagnose(model, inputs, targets).verdict


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("backwards", [False, True])
def test_gradients_that_grow_on_the_way_to_early_steps_explode(seed, backwards):
    model = fresh(lambda: Reader(recurrent=0.5, backwards=backwards), seed)
    assert verdict(model, seed) == "exploding"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("backwards", [False, True])
def test_gradients_that_shrink_on_that_way_vanish(seed, backwards):
    model = fresh(lambda: Reader(recurrent=0.05, kind="tanh", backwards=backwards), seed)
    assert verdict(model, seed) == "vanishing"
    assert verdict(fresh(lambda: Early(recurrent=0.05, kind="tanh"), seed), seed) == "vanishing"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["relu", "tanh"])
def test_an_orthogonal_recurrence_does_neither(seed, kind):
    assert verdict(fresh(lambda: Reader(recurrent=None, kind=kind), seed), seed, steps=30) == "healthy"


def test_the_repaired_copy_is_healthy():
    generator = seeded(0)
    inputs, targets = torch.randn(32, 60, 3, generator=generator), torch.randint(0, 10, (32,), generator=generator)
    repair = diagnose(fresh(lambda: Reader(recurrent=0.5)), inputs, targets).repaired()
    assert (repair.before.verdict, repair.after.verdict) == ("exploding", "healthy")


def test_gates_that_are_shut_from_the_start_are_blind_and_the_evidence_is_a_number():
    model = fresh(lambda: nn.LSTM(3, 8, batch_first=True))
    for name, parameter in model.named_parameters():
        if "bias" in name:
            nn.init.constant_(parameter, -50.0)
    inputs, targets = torch.randn(2, 16, 5, 8, generator=seeded(0))
    report = diagnose(model, inputs[..., :3], targets, lambda outputs, t: (outputs[0] - t).square().mean())
    assert report.verdict == "blind"
    assert (report.findings[0].measured, report.findings[0].expected) == (0, 1)
    assert "nan" not in report.findings[0].evidence
