"""Laws of `record`: what it measures is what a reader would, in order, and it costs and changes nothing else."""

import json
import sys
from math import inf, isnan, nan
from unittest import mock

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from d2lstab import record, seeded
from d2lstab.randomness import normal
from d2lstab.recording import Signals
from d2lstab.recording.functional import BENDING, limits_of
from d2lstab.recording.statistics import count_outside, extremes, norm, pair_difference
from tests.architectures import ARCHITECTURES, Functional, Recurrent, Residual, Shared, build


def run(model, inputs, *, full=True, kinds=None):
    with record(model, full=full, kinds=kinds) as signals:
        outputs = model(inputs)
        outputs = outputs if isinstance(outputs, torch.Tensor) else next(iter(outputs))
        outputs.square().sum().backward()
    return signals


def test_moments_and_gradients_are_those_of_the_outputs():
    torch.manual_seed(0)
    first, act, last = nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 4)
    x = torch.randn(6, 5)
    signals = run(nn.Sequential(first, act, last), x)
    layers = [first(x)]
    layers += [act(layers[0])]
    layers += [last(layers[1])]
    gradients = torch.autograd.grad(layers[-1].square().sum(), layers)
    for row, h, g in zip(signals, map(torch.Tensor.detach, layers), gradients):
        assert row.moment == pytest.approx(float(h.double().square().mean()), rel=1e-5)
        assert row.gradient == pytest.approx(float(g.double().square().mean()), rel=1e-5)
        assert row.largest == pytest.approx(float(h.abs().max()))
        assert row.shape == tuple(h.shape)


def test_rows_come_in_the_order_of_execution_one_per_call():
    signals = run(Shared(), torch.randn(8, 5))
    labels = [row.label for row in signals]
    assert labels == [
        "first", "again", "tanh()", "again#2", "tanh()#2", "again#3", "tanh()#3", "last",
    ]  # fmt: skip
    assert signals["again#2"].moment != signals["again#3"].moment


def test_functional_activations_are_rows_and_those_inside_modules_are_not_counted_twice():
    assert [row.kind for row in run(Functional(), torch.randn(8, 5))] == ["Linear", "ReLU", "Linear", "Tanh", "Linear"]
    modules = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 4), nn.Softmax(-1))
    assert len(run(modules, torch.randn(8, 5))) == 4


def test_what_an_in_place_layer_overwrites_was_measured_before():
    torch.manual_seed(0)
    model, x = Residual(4), torch.randn(8, 4, 6, 6)
    expected = float(model.bn1(model.conv1(x)).detach().square().mean())
    signals = run(model, x)
    assert signals["bn1"].moment == pytest.approx(expected, rel=1e-4)
    assert all(row.gradient > 0 for row in signals)


def test_gradients_equal_those_of_the_same_model_without_in_place_layers():
    torch.manual_seed(0)
    inplace = Residual(4)
    x = torch.randn(8, 4, 6, 6)
    found = run(inplace, x)
    h1 = inplace.bn1(inplace.conv1(x))
    h2 = inplace.bn2(inplace.conv2(F.relu(h1)))
    out = F.relu(h2 + x)
    gradients = torch.autograd.grad(out.square().sum(), [h1, h2])
    for name, gradient in zip(("bn1", "bn2"), gradients):
        assert found[name].gradient == pytest.approx(float(gradient.square().mean()), rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(offset=st.floats(-1e4, 1e4), batch=st.integers(2, 9))
def test_variation_does_not_cancel_on_a_large_offset(offset, batch):
    x = torch.randn(batch, 200, generator=torch.Generator().manual_seed(0)) + offset
    apart = min(batch // 2 + 1, batch - 1)
    direct = (x[:-apart].double() - x[apart:].double()).square().mean().sqrt()
    assert float(pair_difference(x, batch).double().square().mean().sqrt()) == pytest.approx(float(direct), rel=1e-3)


def test_variation_is_the_standard_deviation_between_samples_over_the_size():
    x = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0)) * 0.3 + 1
    identity = nn.Linear(1, 1, bias=False)
    nn.init.ones_(identity.weight)
    (row,) = run(identity, x)
    assert row.variation == pytest.approx(0.3 / (1 + 0.3**2) ** 0.5, rel=0.02)


def test_identical_samples_have_no_variation_and_independent_ones_have_one():
    eye = nn.Linear(50, 50, bias=False)
    nn.init.eye_(eye.weight)
    (same,) = run(eye, torch.ones(8, 50))
    (different,) = run(eye, torch.randn(400, 50, generator=torch.Generator().manual_seed(0)))
    assert same.variation == 0
    assert different.variation == pytest.approx(1, abs=0.02)


def test_a_batch_that_holds_everything_twice_varies_as_before():
    once = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    (row,), (twice,) = run(nn.Linear(50, 9), once), run(nn.Linear(50, 9), torch.cat([once] * 8))
    assert row.variation == pytest.approx(twice.variation, rel=0.2)


def test_a_dead_unit_is_zero_for_every_sample_and_position():
    conv = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        conv.bias.copy_(torch.tensor([-99.0, -99.0, 99.0, 0.0]))
    rows = run(nn.Sequential(conv, nn.ReLU()), torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0)))
    assert rows[1].dead == 0.5


@settings(deadline=None, max_examples=60)
@given(shape=st.lists(st.sampled_from([1, 2, 3, 16]), min_size=2, max_size=5), axis=st.integers(0, 4), data=st.data())
def test_the_extremes_of_a_unit_are_those_of_its_entries_in_any_layout(shape, axis, data):
    order = data.draw(st.permutations(range(len(shape))))
    tensor = torch.randn(shape).permute(order)  # as channels_last or the transpose of a batch
    axis %= tensor.dim()
    others = [each for each in range(tensor.dim()) if each != axis]
    last = axis - tensor.dim() if axis == tensor.dim() - 1 else axis  # recorded with either name
    for name in (axis, last):
        least, most = extremes(tensor, name)
        assert torch.equal(least, tensor.amin(others)) and torch.equal(most, tensor.amax(others))
    tensor[(0,) * tensor.dim()] = nan
    for each in extremes(tensor, axis):
        assert each.isnan().nonzero().tolist() == [[0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", BENDING)
def test_the_saturated_share_counts_the_entries_beyond_the_limits(kind, dtype):
    low, high = torch.tensor(limits_of(kind)).to(dtype).tolist()  # as the format of the entries has them
    z = torch.tensor([[-40.0, low, 0.0, 0.5], [1.0, high, 40.0, 0.0]]).nan_to_num(0, 0, 0).to(dtype)
    beyond = sum(value <= low or value >= high for value in z.flatten().tolist())
    (row,) = run(kind(), z.requires_grad_())
    assert row.saturated == beyond / 8


@pytest.mark.parametrize("kind", BENDING)
def test_saturation_begins_where_the_slope_is_a_hundredth_of_its_largest(kind):
    low, high = limits_of(kind)
    z = torch.linspace(-30, 30, 60_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(BENDING[kind](z).sum(), z)
    flat = slope.abs() < 0.01 * slope.abs().max()
    outside = (z <= low) | (z >= high)
    edge = (z - low).abs().minimum((z - high).abs()) < 0.05  # the grid of the limits
    turning = slope.abs() < 0.02  # a slope may cross 0 on the way, as GELU's does
    assert not (flat & ~outside & ~edge & ~turning).any()
    assert not (outside & ~flat & ~edge).any()


@settings(deadline=None, max_examples=60)
@given(
    entries=st.lists(st.sampled_from([-inf, -7.0, -3.0, -0.5, 0.0, 2.0, 3.0, 9.0, inf, nan]), min_size=1, max_size=6),
    limits=st.sampled_from([(-3.0, 3.0), (-3.0, inf), (-inf, 2.0), (-3.0, 2.0), (-inf, inf), (-99.0, 99.0)]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    waits=st.booleans(),
)
def test_entries_on_a_finite_limit_or_beyond_are_counted_whatever_else_there_is(entries, limits, dtype, waits):
    low, high = limits
    expected = sum((z <= low and low > -inf) or (z >= high and high < inf) for z in entries)
    with mock.patch("d2lstab.recording.statistics.at_hand", return_value=not waits):  # as on another device
        assert count_outside(torch.tensor(entries, dtype=dtype), low, high) == expected


def test_a_sigmoid_stuck_at_zero_is_saturated_and_a_rectifier_never():
    shifted = nn.Linear(5, 8)
    nn.init.constant_(shifted.bias, -50.0)
    assert run(nn.Sequential(shifted, nn.Sigmoid()), torch.randn(8, 5))[1].saturated == 1
    assert isnan(run(nn.Sequential(shifted, nn.ReLU()), torch.randn(8, 5))[1].saturated)


def test_the_gradient_of_a_recurrent_layer_is_known_for_every_time_step():
    model, x = Recurrent(nn.RNN), torch.randn(8, 12, 5, requires_grad=True)
    signals = run(model, x)
    per_step = x.grad.square().sum((0, 2))
    assert torch.tensor(signals["cell"].time) == pytest.approx(per_step.tolist(), rel=1e-4)
    assert signals["cell"].time[-1] > signals["cell"].time[0]


def test_what_was_not_measured_is_nan_and_never_zero():
    model, ids = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)), torch.tensor([[0, 1]])
    with record(model) as signals, torch.no_grad():
        model(ids)
    for row in signals:
        assert isnan(row.gradient)
        assert isnan(row.dead)
    text = signals.to_dict()["rows"][0]
    assert text["gradient"] is None
    assert "–" in signals._repr_html_()


def test_a_frame_has_a_row_for_each_call_and_a_column_for_each_number(monkeypatch):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    with record(model) as signals:
        model(torch.ones(2, 3))
    frame = signals.to_frame()
    assert frame["name"].tolist() == ["0", "1"]
    assert frame["moment"].tolist() == [row.moment for row in signals]
    assert frame["gradient"].isna().all()
    assert Signals([]).to_frame().columns.tolist() == frame.columns.tolist()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="expected pip install pandas"):
        signals.to_frame()


def test_integer_outputs_are_rows_without_numbers():
    model, inputs, _ = build("integer")
    row = run(model, inputs)["quantizer"]
    assert row.dtype == "int64"
    assert isnan(row.moment)


def test_an_underflowing_or_overflowing_square_is_not_reported_as_zero_or_infinity():
    scale = nn.Linear(4, 4, bias=False)
    for size in (1e-30, 1e30):
        nn.init.constant_(scale.weight, size)
        (row,) = run(scale, torch.ones(4, 4))
        assert row.moment == pytest.approx((4 * size) ** 2, rel=1e-2)


def test_infinite_and_nan_outputs_show_in_the_largest():
    for bad in (float("inf"), nan):
        (row,) = run(nn.Linear(2, 2), torch.tensor([[1.0, bad], [0.0, 1.0]]))
        assert not row.largest < float("inf")


@pytest.mark.parametrize("kinds", [None, (nn.Linear, nn.Tanh)], ids=["functions too", "modules only"])
@pytest.mark.parametrize("name", ["checkpointed", "checkpointed, reentrant"])
def test_the_first_model_that_is_recorded_may_be_checkpointed(name, kinds):
    """Limits of activations were found out in its pass; torch counts what is saved there, and raised."""
    limits_of.cache_clear()
    model, inputs, _ = build(name)
    assert len(run(model, inputs, kinds=kinds)) == 4


def test_a_checkpointed_layer_has_one_row_with_its_gradient():
    for name in ("checkpointed", "checkpointed, reentrant"):
        model, inputs, _ = build(name)
        plain = nn.Sequential(model.first, model.body, model.last)
        expected = {row.label: row.gradient for row in run(plain, inputs)}
        found = run(model, inputs)
        assert [row.label for row in found] == ["first", "body.0", "body.1", "last"]
        assert [row.gradient for row in found] == pytest.approx(list(expected.values()), rel=1e-4)


def test_kinds_restrict_the_rows():
    model, inputs, _ = build("in-place ReLU")
    assert {row.kind for row in run(model, inputs, kinds=nn.Conv2d)} == {"Conv2d"}
    assert {row.kind for row in run(model, inputs, kinds=(nn.BatchNorm2d, nn.ReLU))} == {"BatchNorm2d", "ReLU"}


def test_a_module_seen_through_a_wrapper_keeps_its_name():
    model, inputs, _ = build("multilayer perceptron")
    names = [row.label for row in run(model, inputs)]
    wrapped = nn.Sequential(model)
    wrapped.add_module("module", nn.Linear(4, 4))  # a user's own name
    assert [row.label for row in run(wrapped, inputs)] == [*(f"0.{name}" for name in names), "module"]
    assert [row.label for row in run(torch.nn.DataParallel(model), inputs)] == names


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_is_seen_layer_by_layer():
    model, inputs, _ = build("multilayer perceptron")
    compiled = torch.compile(model, backend="eager")
    compiled(inputs)
    assert [row.label for row in run(compiled, inputs)] == ["0", "1", "2"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_default_and_full_agree(name):
    model, inputs, _ = build(name)
    if isinstance(inputs, dict):
        return
    torch.manual_seed(3)
    with torch.random.fork_rng(), record(model) as brief:
        model(inputs.clone())
    model, inputs, _ = build(name)
    torch.manual_seed(3)
    with torch.random.fork_rng(), record(model, full=True) as full:
        model(inputs.clone())
    assert [row.label for row in brief] == [row.label for row in full]
    for a, b in zip(brief, full):
        assert a.moment == b.moment or isnan(a.moment)


def test_an_exception_ends_the_recording_cleanly():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
    with pytest.raises(RuntimeError, match="shapes"), record(model) as signals:
        model(torch.randn(3, 7))
    assert not model[0]._forward_hooks
    assert len(signals) == 0


def test_a_model_that_is_none_is_refused():
    with pytest.raises(TypeError, match="'relu' of type str\nexpected a torch.nn.Module"), record("relu"):
        pass


def test_rows_are_found_by_label_and_a_wrong_one_is_named():
    signals = run(nn.Sequential(nn.Linear(5, 4)), torch.randn(3, 5))
    assert signals["0"].label == signals[0].label
    with pytest.raises(KeyError, match="'fc' was not recorded"):
        signals["fc"]


def test_signals_show_export_and_draw_themselves():
    signals = run(nn.Sequential(nn.Linear(5, 4), nn.Tanh()), torch.randn(3, 5))
    assert repr(signals) == "Signals(layer calls: 2)"
    assert signals._repr_html_().count("<tr>") == 3
    assert signals._repr_html_().count("text-align: left") == 3 * 3  # layer, kind, output: the others are numbers
    head, *lines = signals.table().splitlines()
    assert head.split() == ["layer", "kind", "output", "E", "h²", "variation", "E", "g²", "dead", "saturated"]
    assert [line.split()[:3] for line in lines] == [["0", "Linear", "3×4"], ["1", "Tanh", "3×4"]]
    assert len({len(line) for line in (head, *lines)}) == 1
    assert json.loads(signals.to_json())["rows"][1]["kind"] == "Tanh"
    assert len(signals.plot().lines) == 2
    plt.close("all")


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for the device: operations that answer to it, and methods that copy to it."""

    operations = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal)

    def __init__(self, monkeypatch):
        super().__init__()
        self.count = 0
        for name in ("tolist", "cpu", "numpy"):  # no operations where all is on the CPU
            monkeypatch.setattr(torch.Tensor, name, self.counted(getattr(torch.Tensor, name)))

    def counted(self, method):
        def call(tensor):
            self.count += 1
            return method(tensor)

        return call

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in self.operations
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "name", ["in-place ReLU", "functional", "shared", "LSTM", "transformer", "complex", "bfloat16"]
)
def test_nothing_waits_for_the_device_but_reading_rows_once(name, full, monkeypatch):
    model, inputs, _ = build(name)
    for module in ("statistics", "signals"):
        monkeypatch.setattr(f"d2lstab.recording.{module}.at_hand", lambda tensor: False)  # as on another device
    with Waits(monkeypatch) as waits:
        outputs = model(inputs)
        outputs.abs().sum().backward()
        with record(model, full=full):  # finds out, once in a process and on the CPU, where its activations are flat
            pass
        waits.count, alone = 0, waits.count
        with record(model, full=full) as signals:
            outputs = model(inputs)
            outputs.abs().sum().backward()
        assert waits.count == alone
        rows = signals.rows
        assert waits.count == alone + 1
        assert [row.moment for row in signals.rows] == pytest.approx([row.moment for row in rows], nan_ok=True)
    assert any(row.gradient > 0 for row in rows)


@pytest.mark.parametrize("full", [False, True])
def test_what_no_number_can_be_read_of_is_a_row_without_numbers_and_its_caller_is_left_alone(full):
    model = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 1))
    parameters, x = dict(model.named_parameters()), torch.randn(8, 4)

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    gradient = torch.func.grad(loss)
    per_sample = torch.func.vmap(gradient, (None, 0))
    expected, whole = per_sample(parameters, x), gradient(parameters, x)
    with record(model, full=full) as unread:
        assert_same(per_sample(parameters, x), expected)
        with FakeTensorMode(allow_non_fake_inputs=True):
            model(torch.empty(8, 4))
    assert [row.kind for row in unread] == ["Linear", "GELU", "Linear"] * 2
    assert all(isnan(row.moment) and isnan(row.gradient) and isnan(row.dead) for row in unread)
    with record(model, full=full) as read:
        assert_same(gradient(parameters, x), whole)
    assert all(row.moment > 0 and row.gradient > 0 for row in read)


def assert_same(found: dict, expected: dict) -> None:
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_model_without_functional_activations_is_recorded_as_one_with_them():
    first, last = nn.Linear(5, 6), nn.Linear(6, 4)
    x = torch.randn(8, 5)

    class Calling(nn.Sequential):
        def forward(self, x):
            return super().forward(x)

    for full in (False, True):
        parts = first, nn.Sequential(nn.Tanh(), nn.Softmax(-1)), last
        quiet, calling = run(nn.Sequential(*parts), x, full=full), run(Calling(*parts), x, full=full)
        assert json.loads(quiet.to_json()) == json.loads(calling.to_json())


def test_layers_that_are_called_one_by_one_are_rows_with_the_batch_of_each_call():
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh())
    for full in (False, True):
        with record(model, full=full) as signals:
            for batch in (8, 6):
                x = torch.randn(batch, 5)
                for layer in model:
                    x = layer(x)
        assert [row.label for row in signals] == ["0", "1", "0#2", "1#2"]
        assert all(row.variation > 0.1 for row in signals)


def test_a_function_in_a_forward_of_its_own_is_seen_in_a_plain_container():
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4))
    model.forward = lambda x: F.relu(model[1](model[0](x)))
    assert [row.label for row in run(model, torch.randn(8, 5), full=False)] == ["0", "1", "relu()"]


# A layer that several checkpoints call


class Segments(nn.Module):
    """One layer called in each of three checkpoints, twice in the second."""

    def __init__(self, reentrant: bool | None):
        super().__init__()
        self.first, self.fc, self.last = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.tanh, self.reentrant = nn.Tanh(), reentrant

    def once(self, x):
        return self.tanh(self.fc(x))

    def twice(self, x):
        return self.once(self.once(x))

    def forward(self, x):
        x = self.first(x)
        for part in (self.once, self.twice, self.once):
            x = part(x) if self.reentrant is None else checkpoint(part, x, use_reentrant=self.reentrant)
        return self.last(x)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
def test_each_call_of_a_layer_in_several_checkpoints_keeps_its_own_gradient(reentrant, full):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Segments(reentrant)
    plain = Segments(None)
    plain.load_state_dict(model.state_dict())
    x = normal(6, 5, generator=seeded(0))
    expected = {row.label: row.gradient for row in run(plain, x, full=full)}
    found = {row.label: row.gradient for row in run(model, x, full=full)}
    assert list(found) == list(expected)
    assert "fc#4" in found
    assert "tanh#4" in found
    assert len(set(expected.values())) == len(expected)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("reentrant", [False, True])
def test_calls_that_compute_the_same_in_checkpoints_keep_their_own_gradients(reentrant):
    layer = nn.Linear(5, 5)
    x = normal(6, 5, generator=seeded(0)).requires_grad_()
    with record(layer) as signals:
        first, second = (checkpoint(layer, x, use_reentrant=reentrant) for _ in range(2))
        (first + 3 * second).sum().backward()
    assert [row.gradient for row in signals] == pytest.approx([1, 9])


def test_one_row_is_read_without_the_others():
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(30)))
    with record(model, full=True) as signals:
        model(torch.ones(2, 4)).sum().backward()
    by_index = signals[3]
    assert [isinstance(value, torch.Tensor) for value in signals.tape[4].values.values()].count(True) > 0
    assert repr(by_index) == repr(signals.rows[3]) == repr(signals["3"]) == repr(signals[3:4][0]) == repr(signals[-27])
    assert [row.label for row in signals[::10]] == ["0", "10", "20"]
    with pytest.raises(IndexError, match=r"30 of 30 rows\nexpected an index"):
        signals[30]
    with pytest.raises(TypeError, match=r"1.5 of 30 rows\nexpected an index"):
        signals[1.5]


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int64, torch.float16, torch.float32, torch.float64, torch.complex64]
)
def test_the_norm_of_3_and_4_is_5_in_every_dtype(dtype):
    assert float(norm(torch.tensor([3, 4], dtype=dtype))) == 5
