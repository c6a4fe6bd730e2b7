"""Laws of `Monitor`: what it records is what `record` sees, training is what it would be without it, and it speaks once."""

import json
import random
from itertools import pairwise
from math import nan
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import Monitor, he_normal_, mlp, record
from d2lstab.datasets import digits
from d2lstab.diagnosis.origin import FORMULAS
from d2lstab.monitoring.calls import LayerCall, together
from d2lstab.monitoring.facts import Backward, facts_of, look_at_answer
from d2lstab.monitoring.graph import suspicious_formula
from d2lstab.monitoring.selection import selected
from d2lstab.monitoring.weights import norms
from d2lstab.recording import SignalRow
from tests.architectures import ARCHITECTURES, Shared, build

DATA = digits()
SGD = torch.optim.SGD


def network(depth: int = 3, width: int = 32, activation=torch.relu, seed: int = 0) -> nn.Module:
    return mlp([64] + [width] * depth + [10], activation, initializer=he_normal_, seed=seed)


def batch(step: int, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    start = step * size % 1000
    return DATA.inputs[start : start + size], DATA.targets[start : start + size]


def train_step(model, optimizer, step: int, *, clip: float | None = None) -> torch.Tensor:
    x, y = batch(step)
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss


def watched(model, optimizer, steps: int, *, given=True, before=None, clip=None, **settings):
    """The monitor after some steps; `before(step)` runs ahead of each."""
    with Monitor(model, optimizer=optimizer if given else None, **({"every": 1, "tell": None} | settings)) as monitor:
        for step in range(steps):
            if before is not None:
                before(step)
            monitor.step(train_step(model, optimizer, step, clip=clip))
    return monitor


def hooks_of(model: nn.Module) -> int:
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())


def test_each_record_is_what_record_sees_in_that_step():
    model, twin = network(activation=torch.tanh), network(activation=torch.tanh)
    signals = watched(model, SGD(model.parameters(), 0.1), 3).signals
    optimizer = SGD(twin.parameters(), 0.1)
    for step in range(3):
        with record(twin, full=True) as expected:
            loss = train_step(twin, optimizer, step)
        assert signals.layers == tuple(row.label for row in expected)
        assert float(signals.loss[step]) == float(loss.detach())
        for name in ("moment", "variation", "gradient", "dead", "saturated", "largest"):
            row = torch.tensor([getattr(each, name) for each in expected], dtype=torch.float64)
            torch.testing.assert_close(getattr(signals, name)[step], row, equal_nan=True, rtol=1e-12, atol=0)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_norms_are_those_of_the_weights_around_the_optimizers_step(given, clip):
    model, twin = network(), network()
    signals = watched(model, SGD(model.parameters(), 0.1), 2, given=given, clip=clip).signals
    optimizer = SGD(twin.parameters(), 0.1)
    for step in range(2):
        before = [each.detach().clone() for each in twin.parameters()]
        train_step(twin, optimizer, step, clip=clip)
        weight = torch.stack([each.norm() for each in before]).double()
        moved = torch.stack([(b - a).norm() for a, b in zip(before, twin.parameters())]).double().detach()
        gradient = torch.stack([each.grad.norm() for each in twin.parameters()]).double()
        # Norms of float32, in float64; those of all weights at once are added up in an order of their own.
        torch.testing.assert_close(signals.weight_norm[step], weight, rtol=1e-6, atol=0)
        torch.testing.assert_close(signals.update_norm[step], moved, rtol=1e-6, atol=0)
        torch.testing.assert_close(signals.gradient_norm[step], gradient, rtol=1e-6, atol=0)
        torch.testing.assert_close(moved, 0.1 * gradient, rtol=1e-3, atol=1e-6)
    assert signals.weights == tuple(name for name, _ in twin.named_parameters())
    own = signals.layers.index("layer2.linear")
    place = signals.weights.index("layer2.linear.weight")
    torch.testing.assert_close(signals.ratio[:, own], (signals.update_norm / signals.weight_norm)[:, place])
    assert signals.ratio[:, signals.layers.index("layer2.relu()")].isnan().all()


def test_step_one_and_every_kth_after_it_are_recorded_and_nothing_is_attached_between():
    model = network()
    optimizer = SGD(model.parameters(), 0.1)
    attached = []

    def count(step: int) -> None:
        attached.append(hooks_of(model) > 0)
        assert (len(optimizer._optimizer_step_pre_hooks) > 0) == attached[-1]

    signals = watched(model, optimizer, 10, every=4, before=count).signals
    assert signals.steps.tolist() == [1, 5, 9]
    assert [step + 1 for step, there in enumerate(attached) if there] == [1, 5, 9]
    assert hooks_of(model) == 0 == len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


class Restless(nn.Module):
    """Draws random numbers and keeps running statistics."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 10)

    def forward(self, x):
        return self.last(F.dropout(F.gelu(self.norm(self.first(x)))))


def trained(monitored: bool) -> tuple[nn.Module, torch.optim.Optimizer, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Restless()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        if monitored:
            watched(model, optimizer, 7, every=2, histograms=True)
        else:
            for step in range(7):
                train_step(model, optimizer, step)
        return model, optimizer, torch.get_rng_state()


def test_training_is_bit_for_bit_what_it_is_without_a_monitor():
    (model, optimizer, stream), (twin, other, expected) = trained(True), trained(False)
    assert torch.equal(stream, expected)
    assert all(torch.equal(each, twin.state_dict()[name]) for name, each in model.state_dict().items())
    for mine, its in zip(optimizer.state.values(), other.state.values()):
        assert all(torch.equal(mine[name], its[name]) for name in its)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), twin.parameters()))
    assert [vars(each).keys() for each in model.modules()] == [vars(each).keys() for each in twin.modules()]


@pytest.mark.parametrize("layer", ["layer1", "layer2.linear", "output", ""])
def test_nothing_stays_behind_when_a_layer_raises(layer):
    model = network()
    optimizer = SGD(model.parameters(), 0.1)

    def fail(*_):
        raise ArithmeticError

    def arrange(step: int) -> None:
        if step == 1:
            handles.append(model.get_submodule(layer).register_forward_pre_hook(fail))

    handles = []
    with pytest.raises(ArithmeticError):
        watched(model, optimizer, 3, before=arrange)
    handles[0].remove()
    assert hooks_of(model) == 0 == len(optimizer._optimizer_step_pre_hooks)
    assert len(torch.overrides._get_current_function_mode_stack()) == 0


def test_a_listener_that_raises_leaves_no_hooks_and_the_next_record_is_clean():
    model, twin = network(), network()
    optimizer, other = SGD(model.parameters(), 0.1), SGD(twin.parameters(), 0.1)

    def tell(onset) -> None:
        raise ArithmeticError

    with Monitor(model, optimizer=optimizer, every=2, tell=tell) as monitor:
        loss = train_step(model, optimizer, 0)
        with pytest.raises(ArithmeticError):
            monitor.step(loss * torch.nan)
        assert hooks_of(model) == 0 == len(optimizer._optimizer_step_pre_hooks)
        for step in (1, 2):
            monitor.step(train_step(model, optimizer, step))
    expected = watched(twin, other, 3, every=2).signals
    assert torch.equal(monitor.signals.moment[-1], expected.moment[-1])
    assert torch.equal(monitor.signals.gradient[-1], expected.gradient[-1])


def test_an_output_that_is_kept_loses_its_hook_with_the_step():
    model = network()
    with Monitor(model, every=1, tell=None) as monitor:
        kept = model(batch(0)[0])
        loss = F.cross_entropy(kept, batch(0)[1])
        loss.backward()
        assert kept._backward_hooks
        monitor.step(loss)
        assert not kept._backward_hooks


def test_passes_without_gradients_are_not_recorded():
    model, twin = network(), network()

    def evaluate(step: int) -> None:
        with torch.no_grad():
            model(1000 * DATA.inputs)
        with torch.inference_mode():
            model(1000 * DATA.inputs)

    mixed = watched(model, SGD(model.parameters(), 0.1), 3, before=evaluate).signals
    alone = watched(twin, SGD(twin.parameters(), 0.1), 3).signals
    assert torch.equal(mixed.moment, alone.moment) and mixed.layers == alone.layers


def test_accumulated_gradients_make_one_record_of_the_whole_batch():
    x, y = batch(0, 64)
    records = []
    for parts in (1, 4):
        model = network()
        optimizer = SGD(model.parameters(), 0.1)
        with Monitor(model, optimizer=optimizer, every=1, tell=None) as monitor:
            for here, there in zip(x.chunk(parts), y.chunk(parts)):
                (F.cross_entropy(model(here), there) / parts).backward()
            optimizer.step()
            monitor.step()
        records.append(monitor.signals)
    whole, parts = records
    assert parts.layers == whole.layers
    for name in ("moment", "gradient", "dead", "largest", "gradient_norm", "update_norm"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-9)
    assert (whole.dead > 0).any()


def test_the_reach_over_two_batches_is_the_larger_one_where_both_are_known_and_of_one_width():
    one, two = torch.tensor([1.0, 0.0, 3.0]), torch.tensor([0.0, 2.0, 4.0])
    assert together(one, two).tolist() == [1, 2, 4]
    assert together(one, None) is together(None, two) is together(None, None) is together(one, two[:2]) is None


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_norms_are_right_where_squares_do_not_fit_float32(size):
    given = [torch.full((2, 2), size), None, torch.full((9,), size, dtype=torch.float64).to_sparse()]
    assert norms(given) == pytest.approx([2 * size, nan, 3 * size], rel=1e-6, nan_ok=True)


def test_each_call_of_a_shared_layer_has_a_column_of_its_own():
    model = Shared()
    optimizer = SGD(model.parameters(), 0.1)
    with Monitor(model, optimizer=optimizer, every=1, tell=None) as monitor:
        for _ in range(2):
            model(torch.randn(8, 5)).square().mean().backward()
            optimizer.step()
            monitor.step()
    signals = monitor.signals
    assert [each for each in signals.layers if "again" in each] == ["again", "again#2", "again#3"]
    same = [signals.layers.index(each) for each in ("again", "again#2")]
    assert torch.equal(signals.ratio[:, same[0]], signals.ratio[:, same[1]])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_models_of_every_kind_are_recorded_as_record_sees_them(name):
    (model, inputs, _), (twin, _, _) = build(name), build(name)

    def run(network) -> None:
        torch.manual_seed(0)
        random.seed(0)
        given = {key: each.clone() for key, each in inputs.items()} if isinstance(inputs, dict) else inputs.clone()
        outputs = network(**given) if isinstance(given, dict) else network(given)
        outputs = outputs.scores if name == "dataclass" else outputs
        outputs = next(iter(outputs.values() if isinstance(outputs, dict) else outputs), None) if not isinstance(outputs, torch.Tensor) else outputs  # fmt: skip
        outputs.float().square().mean().backward()

    with Monitor(model, every=1, tell=None) as monitor:
        run(model)
        monitor.step()
    with record(twin, full=True) as expected:
        run(twin)
    signals = monitor.signals
    assert signals.layers == tuple(row.label for row in expected)
    gradient = torch.tensor([each.gradient for each in expected], dtype=torch.float64)
    torch.testing.assert_close(signals.gradient[0], gradient, equal_nan=True)


def test_sparse_gradients_and_frozen_parameters():
    table = nn.Embedding(20, 4, sparse=True)
    model = nn.Sequential(table, nn.Linear(4, 4))
    model[1].bias.requires_grad_(False)
    optimizer = SGD([each for each in model.parameters() if each.requires_grad], 0.5)
    with Monitor(model, optimizer=optimizer, every=1, tell=None) as monitor:
        model(torch.tensor([3, 3, 5])).sum().backward()
        expected = table.weight.grad.to_dense().norm()
        optimizer.step()
        monitor.step()
    signals = monitor.signals
    assert signals.weights == ("0.weight", "1.weight")
    assert float(signals.gradient_norm[0, 0]) == pytest.approx(float(expected))
    assert float(signals.update_norm[0, 0]) == pytest.approx(0.5 * float(expected), rel=1e-5)


def test_a_layer_that_is_unfrozen_in_mid_run_is_measured_from_then_on():
    model = network()
    optimizer = SGD(model.parameters(), 0.1)
    model.layer1.requires_grad_(False)
    signals = watched(model, optimizer, 4, before=lambda step: model.layer1.requires_grad_(step >= 2)).signals
    place = signals.weights.index("layer1.linear.weight")
    # What is watched in a step was chosen at the end of the step before.
    assert signals.update_norm[:, place].isnan().tolist() == [True, True, True, False]
    assert not signals.update_norm[:, signals.weights.index("output.weight")].isnan().any()


def test_gradients_of_a_scaled_loss_are_divided_by_the_scale():
    records = []
    for scale in (1.0, 1024.0):
        model = network()
        with Monitor(model, every=1, tell=None) as monitor:
            x, y = batch(0)
            (scale * F.cross_entropy(model(x), y)).backward()
            monitor.step(scale=scale)
        records.append(monitor.signals.gradient)
    torch.testing.assert_close(records[0], records[1])


def test_a_step_that_a_loss_scaler_leaves_out_is_recorded_without_norms_and_is_no_fault():
    model = network()
    optimizer, scaler, told = SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", init_scale=1e38), []
    with Monitor(model, optimizer=optimizer, every=1, tell=told.append) as monitor:
        for step in range(2):
            x, y = batch(step)
            loss = F.cross_entropy(100 * model(x), y)
            scale = scaler.get_scale()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update(1.0)
            optimizer.zero_grad()
            monitor.step(loss, scale=scale)
    assert monitor.signals.update_norm.isnan().all(1).tolist() == [True, False]
    assert told == []


@pytest.mark.filterwarnings("ignore:Guards may run slower")  # what torch says of Python 3.13.0
@pytest.mark.exact("torch.compile compiles nothing where a dispatch mode listens")
def test_a_compiled_model_is_not_compiled_again_after_a_record():
    compilations = []

    def backend(graph, examples):
        compilations.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = torch.compile(network(), backend=backend)
    signals = watched(model, SGD(model.parameters(), 0.1), 7, every=3).signals
    assert signals.steps.tolist() == [1, 4, 7]
    assert "layer1.linear" in signals.layers and not signals.ratio[:, 0].isnan().any()
    assert len(compilations) == 1


def switch_off(model: nn.Module, at: int):
    """Kills a layer's units ahead of a step, as a leap of its biases does."""

    def before(step: int) -> None:
        if step == at:
            nn.init.constant_(model.layer2.linear.bias, -1e3)

    return before


def test_a_fault_is_told_once_with_the_step_and_layer_where_it_begins(capsys):
    model, told = network(), []
    monitor = watched(model, SGD(model.parameters(), 0.01), 12, before=switch_off(model, 6), tell=told.append)
    assert [(each.step, each.finding.fault, each.finding.layer) for each in told] == [(7, "dead", "layer2.relu()")]
    assert monitor.signals.onsets == tuple(told)
    assert "step 7: dead in layer2.relu()" in str(told[0]) and "remedy" in str(told[0])
    watched(network(), SGD(model.parameters(), 0.01), 1, given=False, tell=print)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("part", ["weight", "output", "loss", "gradient"])
def test_nan_is_told_at_once_and_training_is_left_alone(part):
    model, told = network(), []
    optimizer = SGD(model.parameters(), 0.01)
    with Monitor(model, optimizer=optimizer, every=1, tell=told.append) as monitor:
        for step in range(4):
            x, y = batch(step)
            optimizer.zero_grad()
            if step == 2 and part == "weight":
                nn.init.constant_(model.layer2.linear.weight, torch.nan)
            loss = F.cross_entropy(model(x * (torch.inf if step == 2 and part == "output" else 1)), y)
            if step == 2 and part == "loss":
                loss = loss * torch.nan
            if step == 2 and part == "gradient":
                loss = loss + 0 * (0 * model(x)).sum().square().sqrt()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    faults = {each.finding.fault for each in told}
    assert told[0].step == 3 and len(told) == len(faults)
    place = {"weight": "layer2.linear.weight", "output": "layer1.linear", "loss": "", "gradient": "output"}[part]
    kind = "non_finite_backward" if part == "gradient" else "non_finite_forward"
    assert (told[0].finding.fault, told[0].finding.layer) == (kind, place)
    assert monitor.signals.steps.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, F.gelu])
@pytest.mark.parametrize("optimizer", [lambda p: SGD(p, 0.1), lambda p: torch.optim.Adam(p, 1e-3)])
def test_healthy_training_is_watched_in_silence(activation, optimizer):
    for seed in range(4):
        model = network(5, activation=activation, seed=seed)
        monitor = watched(model, optimizer(model.parameters()), 60, every=5)
        assert monitor.signals.onsets == ()
        assert float(monitor.signals.loss[-1]) < 0.8 * float(monitor.signals.loss[0])


def test_records_are_thinned_out_when_there_are_too_many():
    model = network(1)
    monitor = watched(model, SGD(model.parameters(), 0.1), 50, every=2, most=5)
    steps = monitor.signals.steps.tolist()
    assert steps[0] == 1 and len(steps) <= 5
    assert {b - a for a, b in pairwise(steps)} == {monitor.every} == {16}


@pytest.mark.parametrize(("steps", "kept"), [(4, [1, 2, 3, 4]), (5, [1, 3, 5]), (8, [1, 3, 5, 7]), (9, [1, 5, 9])])
def test_step_one_and_every_second_of_the_records_stay_when_one_is_too_many(steps, kept):
    model = network(1)
    monitor = watched(model, SGD(model.parameters(), 0.1), steps, every=1, most=4)
    assert monitor.signals.steps.tolist() == kept


def test_a_resumed_run_goes_on_where_its_checkpoint_was(tmp_path):
    model, twin = network(), network()
    whole = watched(model, SGD(model.parameters(), 0.01), 12, every=3, before=switch_off(model, 1))
    optimizer = SGD(twin.parameters(), 0.01)
    first = watched(twin, optimizer, 5, every=3, before=switch_off(twin, 1))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    with Monitor(twin, optimizer=optimizer, every=3, tell=None) as second:
        second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        for step in range(5, 12):
            second.step(train_step(twin, optimizer, step))
    assert second.signals.to_dict() == whole.signals.to_dict()
    assert [each["fault"] for each in whole.signals.to_dict()["onsets"]] == ["dead"]


def test_histograms_are_the_shares_of_outputs_between_the_edges():
    model = network(1, activation=torch.tanh)
    signals = watched(model, SGD(model.parameters(), 0.1), 1, histograms=True).signals
    h = torch.tanh(model.layer1.linear(batch(0)[0])).detach().double()  # noqa: F841  the weights have moved since
    shares = signals.histograms[0]
    torch.testing.assert_close(shares.sum(1), torch.ones(len(signals.layers)))
    inside = (signals.edges[1:] <= 1.1) & (signals.edges[:-1] >= -1.1)
    assert float(shares[signals.layers.index("layer1.tanh()")][~inside].sum()) < 0.2
    twin = network(1, activation=torch.tanh)
    z = twin.layer1.linear(batch(0)[0]).detach().double()
    counts = torch.histogram(z, signals.edges).hist / z.numel()
    torch.testing.assert_close(shares[signals.layers.index("layer1.linear")].double(), counts, atol=2e-3, rtol=0)


def test_what_was_recorded_exports_and_draws_itself():
    model = network(activation=torch.tanh)
    signals = watched(model, torch.optim.Adam(model.parameters()), 5, histograms=True).signals
    values = json.loads(signals.to_json())
    assert values["steps"] == [1, 2, 3, 4, 5] and values["dead"][0][0] is not None and values["saturated"][0][0] is None
    assert "records: 5" in repr(signals) and signals._repr_html_().startswith("<table>") and len(signals) == 5
    axes = signals.plot()
    assert axes.get_yscale() == "log" and len(axes.lines) == 5  # four weights and the rule of thumb
    assert signals.plot_layers("gradient").images[0].get_array().shape == (7, 5)
    assert signals.plot_histogram("layer1.tanh()").images[0].get_array().shape[1] == 5
    plt.close("all")


def test_bad_input_is_named():
    model = network()
    other = network()
    with pytest.raises(TypeError, match="model=3 of type int\nexpected"):
        Monitor(3)
    with pytest.raises(TypeError, match="optimizer=0.1 of type float\nexpected"):
        Monitor(model, optimizer=0.1)
    with pytest.raises(ValueError, match="SGD holds no parameter of this .*\nexpected the optimizer of this model"):
        Monitor(model, optimizer=SGD(other.parameters(), 0.1))
    for every in (0, -3, 1.5):
        with pytest.raises(ValueError, match=f"every={every}.*\nexpected a whole number of at least 1"):
            Monitor(model, every=every)
    with pytest.raises(ValueError, match="most=1 .*\nexpected a whole number of at least 2"):
        Monitor(model, most=1)
    with pytest.raises(RuntimeError, match="outside of its `with` block\nexpected"):
        Monitor(model).step()
    with Monitor(model) as monitor, pytest.raises(RuntimeError, match="already in use\nexpected"):
        monitor.__enter__()
    signals = watched(model, SGD(model.parameters(), 0.1), 1).signals
    with pytest.raises(ValueError, match="quantity='size'\nexpected one of moment"):
        signals.plot_layers("size")
    with pytest.raises(ValueError, match="layer='nine'\nexpected one of layer1"):
        signals.plot_histogram("nine")
    with pytest.raises(ValueError, match="no histograms were recorded\nexpected Monitor"):
        signals.plot_histogram("output")


def test_a_model_that_is_replaced_or_changed_in_mid_run_is_an_error():
    model, other = network(), network()
    optimizer = SGD(other.parameters(), 0.1)
    with (
        pytest.raises(ValueError, match="no layer of this .* in step 1\nexpected the model that is being trained"),
        Monitor(model, every=1) as monitor,
    ):
        monitor.step(train_step(other, optimizer, 0))

    def grow(step: int) -> None:
        if step == 2:
            model.layer1.extra = nn.Linear(3, 3)

    with pytest.raises(ValueError, match="changed while it was watched: layer1.extra\nexpected the same modules"):
        watched(model, SGD(model.parameters(), 0.1), 5, before=grow)
    assert hooks_of(model) == 0


def test_nothing_recorded_shows_itself_too():
    signals = Monitor(network()).signals
    assert len(signals) == 0 and "records: 0" in repr(signals)
    for draw in (signals.plot, signals.plot_layers, lambda: signals.plot_histogram("layer1")):
        with pytest.raises(ValueError, match="no step was recorded\nexpected Monitor.step"):
            draw()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0])
def test_a_run_that_was_lost_from_its_first_record_can_be_looked_at(value):
    model = network()
    nn.init.constant_(next(model.parameters()), value)
    signals = watched(model, SGD(model.parameters(), 0.1), 3, histograms=True).signals
    for quantity in ("moment", "gradient", "dead", "ratio"):
        assert signals.plot_layers(quantity).images[0].get_array().shape[1] == 3
    for ax in (signals.plot(), signals.plot_histogram("output")):
        ax.figure.canvas.draw()
    plt.close("all")


def test_a_frozen_model_whose_input_is_trained_is_watched_without_weights():
    model, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).requires_grad_(False), torch.randn(8, 4, requires_grad=True)
    with Monitor(model, every=1, tell=None) as monitor:
        for _ in range(3):
            loss = model(x).square().mean()
            loss.backward()
            monitor.step(loss)
    assert monitor.signals.weights == () and monitor.signals.update_norm.shape == (3, 0)
    assert (monitor.signals.gradient > 0).all()


def test_names_are_drawn_letter_by_letter():
    """Between two dollars matplotlib would read a formula, and raise where there is none."""
    model = nn.ModuleDict({"a$\\frac$": nn.Linear(4, 4), "b$$c": nn.Linear(4, 2)})

    def forward(x):
        return model["b$$c"](model["a$\\frac$"](x))

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Monitor(model, optimizer=optimizer, every=1, histograms=True, tell=None) as monitor:
        for _ in range(3):
            loss = forward(torch.ones(3, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    signals = monitor.signals
    axes = [signals.plot(), signals.plot_layers(), *(signals.plot_histogram(name) for name in signals.layers)]
    for ax in axes:
        ax.figure.canvas.draw()  # where matplotlib reads formulas
    assert axes[1].get_yticklabels()[0].get_text().replace("\\$", "$") == "a$\\frac$"
    plt.close("all")


def test_the_variation_of_two_batches_is_the_variance_between_samples_over_their_mean_square():
    def call(moment: float, variation: float, entries: int) -> LayerCall:
        row = SignalRow("layer", 1, "Linear", (2, 2), "float32", moment, variation, 0.0, 0.0, 0.0, 1.0)
        return LayerCall(row, None, (), False, False, entries)

    added = (call(4.0, 0.5, 3) + call(1.0, 0.8, 1)).row
    assert added.moment == pytest.approx(13 / 4)
    assert added.variation == pytest.approx(((3 * 4 * 0.25 + 0.64) / 13) ** 0.5)


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ("nope", r"layers='nope': 'nope' fits no module"),
        (["1", "no*"], r"layers=\['1', 'no\*'\]: 'no\*' fits no module"),
        ([], r"layers=\[\]\nexpected"),
    ],
)
def test_layers_that_are_not_there_are_told_by_their_names(layers, told):
    with pytest.raises(ValueError, match=told):
        selected(dict(nn.Sequential(*[nn.Identity() for _ in range(3)]).named_modules()), layers)


@pytest.mark.parametrize(("number", "told"), [(10, "8, 9$"), (11, "9 and 1 more$")])
def test_ten_names_are_listed_and_more_are_counted(number, told):
    with pytest.raises(ValueError, match=told):
        selected(dict(nn.Sequential(*[nn.Identity() for _ in range(number)]).named_modules()), "nope")


@pytest.mark.parametrize(
    ("row", "one"),
    [([-1.0, 0.6, 0.4], True), ([-1.0, 0.2, 0.2], False), ([-0.5, -0.5, 1.0], False), ([0.0, 0.0, 0.0], True)],
)
def test_a_gradient_of_softmax_and_cross_entropy_adds_up_to_0_with_one_entry_below(row, one):
    samples, squares, of_classes = look_at_answer(torch.tensor([row, [-1.0, 0.5, 0.5]]))
    assert (int(samples), bool(of_classes)) == (1 + any(row), one)
    assert float(squares) == pytest.approx(sum(each**2 for each in row) + 1.5)


def test_of_several_formulas_the_nearest_to_the_loss_is_named_and_division_last():
    x = torch.rand(4, requires_grad=True)
    assert suspicious_formula(x.sqrt().log().sum())[0] == "log"
    assert suspicious_formula(x.log().sqrt().sum())[0] == "sqrt"
    assert suspicious_formula((x.log() / x).sum())[0] == "log"
    assert suspicious_formula(x.sqrt().log().sum())[1] == FORMULAS["log"]


@pytest.mark.parametrize(("weight", "ratio"), [((3.0, 4.0), 0.26), ((0.0, 0.0), nan)])
def test_the_ratio_of_a_step_is_the_whole_update_over_all_weights(weight, ratio):
    """√(0.5² + 1.2²) over √(3² + 4²); and the size of the answer is the root of its second moment."""
    row = SimpleNamespace(label="1", name="1", moment=0.25, variation=0.5)
    facts = facts_of(
        {"1": SimpleNamespace(row=row)}, ["0.weight", "1.weight"], [(1.0, 2.0), (0.5, 1.2), weight], Backward(),
        groups=[], outermost=["1"], noise=False,
    )  # fmt: skip
    assert facts["ratio"] == pytest.approx(ratio, nan_ok=True)
    assert (facts["size"], facts["spread"], facts["parts"]) == (0.5, 0.25, {"1": (2.0, 0.5)})
    assert facts["gradient"] == pytest.approx(5**0.5)
