"""A recurrent network whose gradients grow over time steps is told of, whatever it reads; a healthy one is not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import Monitor
from d2lstab.datasets import adding_problem

pytestmark = pytest.mark.slow

KINDS = {"relu": nn.RNN, "tanh": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
SEEDS = pytest.mark.parametrize("seed", range(5))


class Reader(nn.Module):
    """Reads numbers, or tokens by way of an embedding, and answers after the last step, from outputs or from states."""

    def __init__(self, kind: str, recurrent: float | None, *, tokens: bool = False, states: bool = False):
        super().__init__()
        more = {"nonlinearity": kind} if kind in ("relu", "tanh") else {}
        self.embedding = nn.Embedding(2, 2) if tokens else nn.Identity()
        self.cell, self.output = KINDS[kind](2, 64, batch_first=True, **more), nn.Linear(64, 1)
        self.states = states
        if recurrent is None:
            nn.init.orthogonal_(self.cell.weight_hh_l0)
        else:
            nn.init.normal_(self.cell.weight_hh_l0, std=recurrent)

    def forward(self, x):
        outputs, states = self.cell(self.embedding(x))
        last = states[0] if isinstance(states, tuple) else states
        return self.output(last[-1] if self.states else outputs[:, -1])


def onsets(kind: str, recurrent: float | None, seed: int, *, length: int, steps: int = 4, clip=None, **given) -> list:
    torch.manual_seed(seed)
    model = Reader(kind, recurrent, **given)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with Monitor(model, optimizer=optimizer, every=1, tell=None) as monitor:
        for step in range(steps):
            data = adding_problem(length, 32, seed=1000 * seed + step)
            inputs = data.inputs[..., 1].long() if given.get("tokens") else data.inputs
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs).squeeze(1), data.targets.squeeze())
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            monitor.step(loss)
    return [(each.finding.fault, each.finding.layer) for each in monitor.signals.onsets]


@SEEDS
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(("kind", "recurrent"), [("tanh", 0.25), ("tanh", 0.5), ("LSTM", 1.0), ("GRU", 1.0)])
def test_gradients_that_grow_over_time_steps_explode(kind, recurrent, tokens, seed):
    assert ("exploding", "cell") in onsets(kind, recurrent, seed, length=100, tokens=tokens)


@SEEDS
def test_states_that_are_read_instead_of_outputs_show_it_too(seed):
    assert ("exploding", "cell") in onsets("tanh", 0.5, seed, length=50, states=True)


@SEEDS
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_orthogonal_recurrence_is_watched_in_silence(kind, tokens, seed):
    assert not onsets(kind, None, seed, length=15, tokens=tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_so_is_one_that_learns(kind):
    assert not onsets(kind, None, 0, length=10, steps=600)


def test_clipped_gradients_are_taken_as_they_are():
    assert not onsets("tanh", 0.25, 0, length=50, clip=0.1)
