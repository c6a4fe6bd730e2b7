"""Recurrent modules start as their initializers say, gate by gate, and remember for as long as theory says."""

from functools import partial
from math import inf, log, nan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from d2lstab import normal_, orthogonal_, seeded
from d2lstab.initializers import chrono_, forget_bias_, half_life, identity_recurrent_, initialize_recurrent_
from d2lstab.networks import reader
from d2lstab.randomness import normal
from tests.truth import truth

GATES = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4, nn.RNNCell: 1, nn.GRUCell: 3, nn.LSTMCell: 4}
KEEPING = {nn.LSTM: 1, nn.LSTMCell: 1, nn.GRU: 1, nn.GRUCell: 1}  # the place of the gate that keeps the past


@pytest.fixture(autouse=True)
def own_stream():
    with torch.random.fork_rng(devices=[]):
        yield


def parameters(module: nn.Module, start: str) -> list[torch.Tensor]:
    return [parameter.detach() for name, parameter in module.named_parameters() if name.startswith(start)]


@pytest.mark.parametrize("kind", GATES)
def test_each_gate_gets_an_orthogonal_weight_of_its_own(kind):
    module = initialize_recurrent_(kind(5, 8))
    (weight,) = parameters(module, "weight_hh")
    gates = weight.chunk(GATES[kind])
    for gate in gates:
        torch.testing.assert_close(gate @ gate.T, torch.eye(8))
    assert all(not torch.equal(gate, gates[0]) for gate in gates[1:])
    assert not any(bias.any() for bias in parameters(module, "bias"))


def test_every_layer_direction_and_projection_is_filled():
    module = nn.LSTM(5, 8, num_layers=2, bidirectional=True, proj_size=3)
    for parameter in module.parameters():
        nn.init.constant_(parameter, nan)
    initialize_recurrent_(module, partial(normal_, std=0.5))
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    projections = parameters(module, "weight_hr")
    assert {tuple(weight.shape) for weight in projections} == {(3, 8)}
    torch.testing.assert_close(torch.cat(projections).std(), torch.tensor(0.5), rtol=0.3, atol=0)


def test_inputs_have_the_fans_of_one_gate():
    module = initialize_recurrent_(nn.LSTM(400, 100))
    (weight,) = parameters(module, "weight_ih")
    second_moment = float(weight.square().mean())
    assert abs(second_moment * 400 - 1) < 4 * (2 / weight.numel()) ** 0.5  # LeCun: 1 / fan_in


def test_a_seed_means_the_same_weights_and_another_seed_others():
    first, again, other = (parameters(initialize_recurrent_(nn.GRU(3, 4), seed=s), "weight_hh")[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_written_if_an_initializer_fails():
    def fails(weight, *, generator):
        raise RuntimeError("no")

    module = nn.LSTM(3, 4)
    before = [parameter.clone() for parameter in module.parameters()]
    with pytest.raises(RuntimeError, match="no"):
        initialize_recurrent_(module, fails)
    assert all(map(torch.equal, before, module.parameters()))


def test_a_linear_state_under_the_identity_is_kept():
    weight = identity_recurrent_(torch.empty(6, 6))
    state = normal(6, generator=seeded(0))
    assert torch.equal(torch.linalg.matrix_power(weight, 100) @ state, state)
    assert torch.equal(identity_recurrent_(torch.empty(6, 6), scale=0.5), torch.eye(6) / 2)


@pytest.mark.parametrize("kind", KEEPING)
@settings(deadline=None, max_examples=10)
@given(st.floats(-20, 20))
def test_the_two_biases_of_torch_add_up_to_the_one_asked_for(kind, value):
    module = kind(3, 4)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    forget_bias_(module, value)
    place, gates = KEEPING[kind], GATES[kind]
    for bias_ih, bias_hh in zip(parameters(module, "bias_ih"), parameters(module, "bias_hh")):
        sums = (bias_ih + bias_hh).chunk(gates)
        assert torch.equal(sums[place], torch.full((4,), value))
    for name, parameter in module.named_parameters():
        kept = [index for index in range(gates) if not (name.startswith("bias") and index == place)]
        for index in kept:
            assert torch.equal(parameter.chunk(gates)[index], before[name].chunk(gates)[index])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_state_without_input_halves_after_the_half_life(kind):
    bias = 3.0
    module = kind(1, 1, batch_first=True).double()
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    forget_bias_(module, bias)
    steps = round(half_life(bias))
    start = torch.ones(1, 1, 1, dtype=torch.float64)
    _, state = module(torch.zeros(1, steps, 1, dtype=torch.float64), (0 * start, start) if kind is nn.LSTM else start)
    left = (state[1] if kind is nn.LSTM else state).item()
    assert left == pytest.approx(0.5 ** (steps / half_life(bias)), rel=1e-12)


@truth("lstm.forget.b0", "lstm.forget.b1")
def test_half_lives_of_the_reference_table(row):
    assert half_life(row["inputs"]["b"]) == pytest.approx(row["value"]["half_life"], rel=1e-12)
    kept = 0.5 ** (row["inputs"]["T"] / half_life(row["inputs"]["b"]))
    assert kept == pytest.approx(row["value"]["factor"], rel=1e-8)


def test_half_lives_at_the_ends_of_the_scale():
    assert half_life(-1000.0) == pytest.approx(log(2) / 1000)
    assert half_life(30.0) == pytest.approx(log(2) * 1.0686474581524463e13, rel=1e-9)  # e³⁰, within e⁻³⁰
    assert half_life(1000.0) == inf


@truth("lstm.chrono.T100")
def test_chrono_reaches_up_to_the_longest_memory_and_not_beyond(row):
    longest = row["inputs"]["T"]
    module = chrono_(nn.LSTM(3, 2000), longest)
    input_gate, forget, _, _ = sum(parameters(module, "bias")).chunk(4)
    assert forget.min() >= 0
    assert forget.max() <= row["value"]["b_f"]
    assert torch.equal(input_gate, -forget)
    lengths = forget.exp()  # uniform on [1, T − 1]
    spread = (longest - 2) / 12**0.5
    assert abs(lengths.mean() - longest / 2) < 4 * spread / 2000**0.5


def test_chrono_of_a_gru_sets_its_one_gate():
    module = nn.GRU(3, 4)
    before = parameters(module, "bias_ih")[0].clone()
    chrono_(module, 50)
    after = parameters(module, "bias_ih")[0].chunk(3)
    assert torch.equal(after[0], before.chunk(3)[0])
    assert (after[1] >= 0).all()
    assert torch.equal(after[2], before.chunk(3)[2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: identity_recurrent_(torch.empty(3, 4)), ValueError, r"shape \(3, 4\)\nexpected a square matrix"),
        (lambda: initialize_recurrent_(nn.Linear(3, 4)), TypeError, "Linear\nexpected an RNN, LSTM or GRU"),
        (lambda: forget_bias_(nn.Linear(3, 4), 1), TypeError, "Linear\nexpected an RNN, LSTM or GRU"),
        (lambda: forget_bias_(nn.RNN(3, 4), 1), TypeError, "RNN has no gate that keeps the past"),
        (lambda: forget_bias_(nn.LSTM(3, 4, bias=False), 1), ValueError, "LSTM without biases\nexpected"),
        (lambda: forget_bias_(nn.LSTM(3, 4), nan), ValueError, "value=nan\nexpected a finite"),
        (lambda: chrono_(nn.LSTM(3, 4), 2), ValueError, "longest=2 .*\nexpected a whole number of at least 3"),
        (lambda: chrono_(nn.LSTM(3, 4), 1), ValueError, "longest=1"),
        (lambda: chrono_(nn.LSTM(3, 4, bias=False), 9), ValueError, "LSTM without biases"),
        (lambda: chrono_(nn.RNN(3, 4), 9), TypeError, "RNN has no gate"),
        (lambda: half_life(inf), ValueError, "forget_bias=inf"),
        (lambda: reader(nn.Linear, 1, 2, 3), TypeError, "expected nn.RNN, nn.LSTM or nn.GRU"),
        (lambda: reader("LSTM", 1, 2, 3), TypeError, "kind='LSTM'"),
        (lambda: reader(nn.LSTM, 0, 2, 3), ValueError, "inputs=0"),
    ],
)
def test_bad_input_is_told_what_is_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_reader_answers_once_or_at_every_step(kind):
    x = normal(5, 7, 2, generator=seeded(0))
    once, always = (reader(kind, 2, 8, 3, every_step=every, seed=4) for every in (False, True))
    assert once(x).shape == (5, 3)
    assert always(x).shape == (5, 7, 3)
    torch.testing.assert_close(always(x)[:, -1], once(x))
    assert reader(kind, 2, 8, 3, bidirectional=True)(x).shape == (5, 3)


def test_a_reader_is_its_seed_and_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    first, again = (reader(nn.LSTM, 2, 8, 3, seed=1, dtype=torch.float64) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert all(parameter.dtype == torch.float64 for parameter in first.parameters())
    single = reader(nn.LSTM, 2, 8, 3, seed=1)
    assert torch.equal(single.recurrent.weight_hh_l0.double(), first.recurrent.weight_hh_l0)


def test_a_reader_takes_the_initializer_for_its_states_only():
    model = reader(nn.RNN, 2, 8, 3, initializer=identity_recurrent_, nonlinearity="relu", input_initializer=orthogonal_)
    assert torch.equal(model.recurrent.weight_hh_l0, torch.eye(8))
    assert not torch.equal(model.recurrent.weight_ih_l0, torch.eye(8)[:, :2])
