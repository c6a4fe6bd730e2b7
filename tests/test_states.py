"""Gradients of recurrent states: as autograd has them, as their Jacobians say, and without a floor."""

import copy
from functools import partial
from math import inf, log, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from d2lstab import gaussian_mean, lecun_normal_, normal_, orthogonal_, seeded, slope
from d2lstab.initializers import forget_bias_, half_life, identity_recurrent_, initialize_recurrent_
from d2lstab.propagation import state_gradients
from d2lstab.randomness import normal
from tests.truth import truth

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_stream():
    with torch.random.fork_rng(devices=[]):
        yield


def made(seed, kind=nn.LSTM, features=3, width=5, initializer=orthogonal_, **settings):
    return initialize_recurrent_(kind(features, width, **settings), initializer, seed=seed)


def silent(seed, kind=nn.LSTM):
    return made(seed, kind, initializer=partial(normal_, std=0))


def forgetful(seed, bias=1.0, **settings):
    return forget_bias_(made(seed, **settings), bias)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


# Oracle: autograd, and Jacobians written down


def test_the_gradients_are_those_of_an_lstm_written_out():
    x = normal(7, 2, 3, generator=seeded(0), dtype=torch.float64)
    w_i, w_h, bias, other = forgetful(4).double().parameters()
    h, c, handed = zeros(2, 5), zeros(2, 5), []
    for inputs in x:
        i, f, g, o = (inputs @ w_i.T + h @ w_h.T + bias + other).chunk(4, dim=-1)
        inside = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h, c = o.sigmoid() * inside.tanh(), inside.clone()  # the next step has two inputs: h does not go through c
        handed.append((h, c))
        for part in handed[-1]:
            part.retain_grad()
    direction = F.normalize(normal(2, 5, generator=seeded(4), dtype=torch.float64), dim=-1)
    (h * direction).sum().backward()
    measured = state_gradients(forgetful, x, seeds=[4])
    for parts, sizes in zip(zip(*reversed(handed)), (measured.hidden, measured.cell)):
        norms = [zeros(2, 5) if part.grad is None else part.grad for part in parts]
        expected = torch.stack([norm.square().sum(-1).mean().sqrt() for norm in norms])
        torch.testing.assert_close(sizes[0, :-1].exp(), expected)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("settings", [{}, {"num_layers": 2}, {"batch_first": True}, {"bias": False}])
def test_the_gradient_of_the_first_state_is_that_of_the_whole_sequence(kind, settings):
    module = made(2, kind, **settings).double()
    x = normal(6, 3, 3, generator=seeded(1), dtype=torch.float64)
    layers, parts = module.num_layers, 2 if kind is nn.LSTM else 1
    state = [zeros(layers, 3, 5).requires_grad_() for _ in range(parts)]
    given = x.transpose(0, 1) if module.batch_first else x
    output, _ = module(given, tuple(state) if parts == 2 else state[0])
    last = output[:, -1] if module.batch_first else output[-1]
    direction = F.normalize(normal(3, 5, generator=seeded(2), dtype=torch.float64), dim=-1)
    gradients = torch.autograd.grad((last * direction).sum(), state)
    measured = state_gradients(lambda seed: made(seed, kind, **settings), given, seeds=[2])
    for gradient, sizes in zip(gradients, (measured.hidden, measured.cell)):
        expected = gradient.square().sum((0, 2)).mean().sqrt()
        torch.testing.assert_close(sizes[0, -1].exp(), expected)


# Closed forms


@truth("lstm.forget.b0", "lstm.forget.b1")
def test_without_weights_the_cell_forgets_as_its_bias_says(row):
    bias, steps = row["inputs"]["b"], row["inputs"]["T"]
    measured = state_gradients(lambda seed: forget_bias_(silent(seed), bias), zeros(steps + 1, 1, 3), seeds=[0])
    kept = measured.cell[0, -1] - measured.cell[0, 1]  # the first lag leads from the last output into its cell
    assert float(kept.exp()) == pytest.approx(row["value"]["factor"], rel=row["tolerance"]["rel"])
    assert float(-kept / log(2)) == pytest.approx(steps / half_life(bias), rel=1e-12)


@settings(deadline=None, max_examples=10)
@given(st.floats(-3, 6), st.integers(0, 5))
def test_a_quiet_lstm_multiplies_its_cell_by_one_matrix(bias, seed):
    """At h = c = 0 a step is c → (σ(b) + ¼ W) c, with W the candidate's recurrent weight."""
    measured = state_gradients(partial(forgetful, bias=bias), zeros(12, 1, 3), seeds=[seed])
    weight = forgetful(seed).weight_hh_l0.detach().double().chunk(4)[2]
    step = torch.sigmoid(torch.tensor(bias, dtype=torch.float64)) * torch.eye(5, dtype=torch.float64) + weight / 4
    direction = F.normalize(normal(1, 5, generator=seeded(seed), dtype=torch.float64), dim=-1)[0]
    gradients = [direction / 2]  # ∂h/∂c of the last step
    for _ in range(11):
        gradients.append(step.T @ gradients[-1])
    kept = torch.sigmoid(torch.tensor(bias, dtype=torch.float64))
    expected = kept * torch.stack(gradients).norm(dim=-1)
    torch.testing.assert_close(measured.cell[0, 1:].exp(), expected)


@truth("rnn.linear_scalar")
@pytest.mark.parametrize("radius", ["0.9", "1.0", "1.1"])
def test_a_multiple_of_the_identity_is_a_power(row, radius):
    identity = partial(identity_recurrent_, scale=float(radius))
    steps = row["inputs"]["T"]
    measured = state_gradients(lambda seed: made(seed, nn.RNN, initializer=identity), zeros(steps, 1, 3), seeds=[0])
    expected = row["value"].get(radius, row["value"].get("1"))
    assert float(measured.hidden[0, -1].exp()) == pytest.approx(expected, rel=1e-5)  # weights are float32


def test_an_orthogonal_state_without_input_keeps_its_gradient():
    measured = state_gradients(partial(made, kind=nn.RNN), zeros(100, 1, 3), seeds=range(3))
    torch.testing.assert_close(measured.hidden, torch.zeros_like(measured.hidden), rtol=0, atol=1e-5)


@truth("rnn.tanh_orth")
def test_a_tanh_state_loses_the_mean_square_of_its_slope(row):
    lost = gaussian_mean(lambda z: slope(torch.tanh, z).square())
    assert lost == pytest.approx(row["value"]["per_step"], rel=1e-7)
    assert 100 * log(lost) / log(10) == pytest.approx(row["value"]["log10_after_100"], rel=1e-7)


def test_nothing_vanishes_or_overflows_at_any_lag():
    for scale in (1e-9, 1e9):
        measured = state_gradients(
            lambda seed: made(seed, nn.RNN, initializer=partial(identity_recurrent_, scale=scale)),  # noqa: B023
            zeros(100, 1, 3),
            seeds=[0],
        )
        torch.testing.assert_close(measured.hidden[0, -1] / 100, torch.tensor(log(scale), dtype=torch.float64))


def test_a_module_without_weights_has_no_gradient_behind_its_last_state():
    measured = state_gradients(partial(silent, kind=nn.RNN), zeros(40, 1, 3), seeds=[0])
    assert float(measured.hidden[0, 0]) == pytest.approx(0)
    assert measured.hidden[0, 1:].tolist() == [-inf] * 40
    assert measured.cell is None


@truth("rnn.gauss.entrystd0.9", "rnn.gauss.specrad1.0", "rnn.gauss.entrystd1.1")
def test_powers_of_a_gaussian_matrix_have_the_norms_of_the_reference_table(row):
    n, power, rho = row["inputs"]["n"], row["inputs"]["T"], row["inputs"]["rho"]
    generator, draws = seeded(0), 200
    norms = []
    for _ in range(draws):
        weight = lecun_normal_(torch.empty(n, n), gain=rho, generator=generator).double()
        if "specrad" in row["id"]:
            weight *= rho / torch.linalg.eigvals(weight).abs().max()
        norms.append(torch.linalg.matrix_norm(weight.matrix_power(power), ord=2).log10())
    error = row["stderr"]["mean"] * sqrt(1 + 400 / draws)  # the table's own error, from 400 draws, and this test's
    assert abs(float(torch.stack(norms).mean()) - row["value"]["mean"]) < row["tolerance"]["z"] * error


# Contracts


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_seed_means_the_same_alone_or_in_company(kind):
    x = normal(5, 4, 3, generator=seeded(0))
    together = state_gradients(partial(made, kind=kind), x, seeds=[3, 1])
    alone = state_gradients(partial(made, kind=kind), x, seeds=[1])
    assert torch.equal(together.hidden[1], alone.hidden[0])
    assert (together.cell is None) == (kind is not nn.LSTM)


def test_the_module_and_the_random_stream_are_left_as_they_were():
    module = forgetful(0, dropout=0.5, num_layers=2)
    before, stream = copy.deepcopy(module), torch.get_rng_state()
    module.eval()
    x = normal(4, 2, 3, generator=seeded(0))
    measured, again = (state_gradients(lambda seed: module, x, seeds=[0]) for _ in range(2))
    assert torch.equal(measured.hidden, again.hidden)
    assert torch.equal(stream, torch.get_rng_state())
    assert all(map(torch.equal, before.parameters(), module.parameters()))
    assert all(p.grad is None and p.requires_grad and p.dtype == torch.float32 for p in module.parameters())
    assert not module.training
    assert module.dropout == 0.5


def test_it_works_without_gradients_and_in_inference_mode():
    x = normal(4, 2, 3, generator=seeded(0))
    expected = state_gradients(made, x, seeds=[0])
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert torch.equal(state_gradients(made, x, seeds=[0]).cell, expected.cell)


def test_a_picture_names_its_state_and_skips_what_is_not_there():
    measured = state_gradients(made, normal(4, 2, 3, generator=seeded(0)), seeds=range(2))
    for state, letter in (("hidden", "h"), ("cell", "c")):
        ax = measured.plot(state=state)
        assert ax.get_ylabel() == f"log₁₀ |∂loss/∂{letter}|"
        assert len(ax.get_lines()[0].get_xdata()) == 5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: state_gradients(made, zeros(4, 3)), ValueError, r"inputs of shape \(4, 3\)\nexpected .* three axes"),
        (lambda: state_gradients(made, zeros(0, 2, 3)), ValueError, r"shape \(0, 2, 3\)"),
        (lambda: state_gradients(made, torch.zeros(4, 2, 3).long()), ValueError, "expected a floating tensor"),
        (lambda: state_gradients(made, [1.0]), ValueError, "inputs of type list"),
        (lambda: state_gradients(made, zeros(4, 2, 9)), ValueError, r"inputs of shape \(4, 2, 9\) for LSTM"),
        (lambda: state_gradients(lambda seed: nn.Linear(3, 3), zeros(4, 2, 3)), TypeError, "returned Linear\nexpected"),
        (
            lambda: state_gradients(lambda seed: nn.GRU(3, 4, bidirectional=True), zeros(4, 2, 3)),
            TypeError,
            "GRU that reads in both directions",
        ),
        (lambda: state_gradients(made, zeros(4, 2, 3), seeds=[]), ValueError, "seeds"),
        (
            lambda: state_gradients(partial(made, kind=nn.GRU), zeros(4, 2, 3), seeds=[0]).plot(state="cell"),
            ValueError,
            "state='cell'\nexpected 'hidden'",
        ),
    ],
)
def test_bad_input_is_told_what_is_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_modules_are_made_in_their_seeds_own_stream():
    def from_the_global_stream(seed):
        return nn.RNN(3, 4)

    x = normal(5, 2, 3, generator=seeded(0))
    before = torch.get_rng_state()
    first, again = (state_gradients(from_the_global_stream, x, seeds=[0, 1]).hidden for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(before, torch.get_rng_state())
