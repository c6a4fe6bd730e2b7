"""Laws of how `Monitor` leaves its loop: what loggers get, which layers are watched, tables and files."""

import json
import re
import warnings
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import Monitor, he_normal_, mlp
from d2lstab.monitoring.signals import logged_names
from tests.architectures import ARCHITECTURES, build

SGD = torch.optim.SGD


def network() -> nn.Module:
    return mlp([8, 16, 16, 16, 4], torch.relu, initializer=he_normal_)


def trained(model: nn.Module, steps: int = 4, **settings) -> Monitor:
    generator, optimizer = torch.Generator().manual_seed(0), SGD(model.parameters(), 0.1)
    with Monitor(model, optimizer=optimizer, **{"every": 1, "tell": None} | settings) as monitor:
        for _ in range(steps):
            x = torch.randn(16, 8, generator=generator)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), x[:, :4].argmax(1))
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    return monitor


def test_a_logger_gets_the_step_and_the_numbers_of_each_record():
    logged = []
    signals = trained(network(), 5, every=2, log=lambda *given: logged.append(given)).signals
    assert [step for step, _ in logged] == signals.steps.tolist() == [1, 3, 5]
    columns = signals.to_dict(flat=True)
    for place, (step, numbers) in enumerate(logged):
        assert {name: columns[name][place] for name in numbers} == numbers and columns["step"][place] == step
        assert all(type(value) is float for value in numbers.values())
    assert numbers["loss"] == float(signals.loss[-1])
    assert numbers["ratio/layer1.linear"] == float(signals.ratio[-1, 0])
    assert "dead/layer1.relu" in numbers and "ratio/layer1.relu" not in numbers


def test_names_go_through_every_logger_and_stay_apart():
    """What mlflow and TensorBoard take: letters, digits and _ - . / alone."""
    labels = [
        f"{name}{end}" for name in ("", "a.b", "a$\\frac$") for end in ("", "#2", ".relu()", ".relu", ".relu()#2")
    ]
    names = logged_names(labels)
    assert len(set(names)) == len(labels)
    assert all(re.fullmatch(r"[-\w./]+", name) for name in names)
    assert logged_names(["", "fc1#2", "layer.relu()"]) == ["model", "fc1.2", "layer.relu"]


def test_numbers_of_one_quantity_stand_side_by_side():
    numbers = {}
    trained(network(), 1, log=lambda step, given: numbers.update(given))
    quantities = [name.partition("/")[0] for name in sorted(numbers)]
    assert len([1 for a, b in pairwise(quantities) if a != b]) == len(set(quantities)) - 1


class Writer:
    """TensorBoard's SummaryWriter, as it is documented."""

    def __init__(self):
        self.kept = []

    def add_scalars(self, main_tag, tag_scalar_dict, global_step=None, walltime=None):
        self.kept.append((global_step, tag_scalar_dict))


class Run:
    """wandb, mlflow and trackio have a function that takes a dict and step=."""

    def __init__(self):
        self.kept = []

    def log(self, data, step=None):
        self.kept.append((step, data))

    def log_metrics(self, metrics, step=None, synchronous=None):
        self.kept.append((step, metrics))


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "trackio"])
def test_the_recipes_for_loggers_are_one_expression(name):
    writer, run = Writer(), Run()
    recipes = {
        "tensorboard": lambda step, numbers: writer.add_scalars("d2lstab", numbers, step),
        "wandb": lambda step, numbers: run.log(numbers, step=step),
        "mlflow": lambda step, numbers: run.log_metrics(numbers, step=step),
        "trackio": lambda step, numbers: run.log(numbers, step=step),
    }
    trained(network(), 3, every=2, log=recipes[name])
    kept = writer.kept + run.kept
    assert [step for step, _ in kept] == [1, 3] and kept[0][1]["loss"] > 0


def test_wandb_takes_the_numbers_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = wandb.init(project="d2lstab", dir=tmp_path)
        trained(network(), 3, log=lambda step, numbers: run.log(numbers, step=step))
        assert run.summary["loss"] > 0 and run.summary["ratio/output"] > 0
        run.finish()


def test_tensorboard_takes_the_numbers(tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(tmp_path) as writer:
        trained(network(), 2, log=lambda step, numbers: [writer.add_scalar(*each, step) for each in numbers.items()])
    assert next(tmp_path.iterdir()).stat().st_size > 1000


def test_a_logger_that_raises_is_told_of_once_and_training_goes_on():
    model, twin, calls = network(), network(), []

    def log(step, numbers):
        calls.append(step)
        raise ConnectionError("no network")

    with pytest.warns(UserWarning, match="log= raised ConnectionError in step 1: no network\ntraining goes on") as told:
        monitor = trained(model, 4, log=log)
    trained(twin, 4)
    assert len(told) == 1 and calls == [1, 2, 3, 4] and len(monitor.records) == 4
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters()))


LAYERS = {
    "a path": ("layer2", {"layer2.linear", "layer2.relu()"}),
    "paths": (["layer1.linear", "output"], {"layer1.linear", "output"}),
    "a pattern": ("layer*.linear", {"layer1.linear", "layer2.linear", "layer3.linear"}),
    "a function": (lambda name, module: isinstance(module, nn.Linear) and module.out_features == 4, {"output"}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_chosen_layers_are_measured_as_they_are_among_all(name):
    layers, expected = LAYERS[name]
    whole, some = trained(network()).signals, trained(network(), layers=layers).signals
    assert set(some.layers) == expected
    places = [whole.layers.index(label) for label in some.layers]
    for quantity in ("moment", "variation", "gradient", "dead", "saturated", "largest", "ratio"):
        assert torch.equal(getattr(some, quantity).nan_to_num(-1), getattr(whole, quantity)[:, places].nan_to_num(-1))
    modules = {label.removesuffix(".relu()") for label in expected}
    assert set(some.weights) == {each for each in whole.weights if any(each.startswith(f"{m}.") for m in modules)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_layers_by_a_pattern_are_all_layers(name):
    model, twin = build(name)[0], build(name)[0]
    one, other = Monitor(model, layers="*"), Monitor(twin)
    assert one._selected.keys() == other._selected.keys() == one._modules.keys()


def test_layers_that_are_not_chosen_cost_no_hook_but_that_of_what_holds_them():
    model = network()
    with Monitor(model, layers="output", every=1, tell=None):
        hooked = [name for name, each in model.named_modules() if each._forward_pre_hooks]
    assert hooked == ["", "layer1", "layer2", "layer3"]


def test_units_are_told_apart_from_positions_behind_a_layer_that_is_not_watched():
    """A unit of (samples, channels, length) is a channel, which the convolution before it knows."""
    torch.manual_seed(0)
    deads = []
    for layers in (None, "1"):
        model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8, 1))
        nn.init.constant_(model[0].bias, 0.0)
        with torch.no_grad():
            model[0].bias[0] = -1e3
        with Monitor(model, every=1, tell=None, layers=layers) as monitor:
            loss = model(torch.randn(8, 2, 10)).square().mean()
            loss.backward()
            monitor.step(loss)
        deads.append(float(monitor.signals.dead[0, monitor.signals.layers.index("1")]))
    assert deads == [0.25, 0.25]


def test_start_and_stop_do_what_the_block_does():
    model, twin = network(), network()
    expected = trained(model).signals
    monitor = Monitor(twin, optimizer=(optimizer := SGD(twin.parameters(), 0.1)), every=1, tell=None).start()
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        x = torch.randn(16, 8, generator=generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(twin(x), x[:, :4].argmax(1))
        loss.backward()
        optimizer.step()
        monitor.step(loss)
    with pytest.raises(RuntimeError, match="already in use\nexpected .* stop\\(\\) before start"):
        monitor.start()
    monitor.stop()
    monitor.stop()
    assert all(not each._forward_hooks and not each._forward_pre_hooks for each in twin.modules())
    assert monitor.signals.to_dict() == expected.to_dict()
    with pytest.raises(RuntimeError, match="outside of its `with` block\nexpected .* or start"):
        monitor.step()


def test_a_table_has_one_line_per_layer_call():
    signals = trained(network()).signals
    head, *lines = signals.table().splitlines()
    assert head.split() == ["layer", "moment", "gradient", "ratio", "dead", "saturated"]
    assert [line.split()[0] for line in lines] == list(signals.layers)
    assert lines[0].split()[1] == f"{float(signals.moment[-1, 0]):.2g}"
    with pytest.raises(ValueError, match="no step was recorded\nexpected"):
        Monitor(network()).signals.table()


def test_records_are_written_to_a_file_and_become_a_data_frame(tmp_path):
    signals = trained(network()).signals
    text = signals.to_json(tmp_path / "signals.json")
    assert json.loads((tmp_path / "signals.json").read_text()) == signals.to_dict() == json.loads(text)
    columns = signals.to_dict(flat=True)
    assert {len(column) for column in columns.values()} == {4}
    frame = pytest.importorskip("pandas").DataFrame(columns)
    assert frame["ratio/output"].tolist() == signals.ratio[:, -1].tolist()
    assert list(frame.columns[:2]) == ["step", "loss"]


def test_layers_that_fit_nothing_are_named():
    model = network()
    with pytest.raises(
        ValueError, match="layers=\\['layer1', 'encoder.\\*'\\]: 'encoder.\\*' fits no module\nexpected"
    ):
        Monitor(model, layers=["layer1", "encoder.*"])
    with pytest.raises(ValueError, match="layers=\\[\\]\nexpected paths or patterns of layer1"):
        Monitor(model, layers=[])
    with pytest.raises(ValueError, match="layers=<lambda> is true of no module\nexpected one or more of layer1"):
        Monitor(model, layers=lambda name, module: False)
    with pytest.raises(TypeError, match="layers=3"):
        Monitor(model, layers=3)
    with pytest.raises(TypeError, match="log=3 of type int\nexpected a function"):
        Monitor(model, log=3)
