"""Models of Keras, which are modules of torch that keep their layers and kernels in a way of their own."""

import os

import pytest
import torch
from torch import nn

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is not installed")

from d2lstab import Monitor, diagnose, record, seeded
from d2lstab.initializers import fans
from d2lstab.randomness import normal
from d2lstab.recording.keras import as_torch
from tests.traces import world

L = keras.layers
BATCH, CLASSES = 32, 3
LABELS = torch.arange(BATCH) % CLASSES
pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras runs on another backend"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras, copying itself
]


def chain(*layers) -> nn.Module:
    keras.utils.set_random_seed(0)
    return keras.Sequential(list(layers))


def dense(depth: int = 3, width: int = 64, **settings) -> nn.Module:
    return chain(L.Input((20,)), *(L.Dense(width, **settings) for _ in range(depth)), L.Dense(CLASSES))


def inputs(*shape: int) -> torch.Tensor:
    return normal(BATCH, *(shape or (20,)), generator=seeded(0))


@pytest.fixture(autouse=True)
def streams():
    """Keras seeds Python's and numpy's streams too."""
    with torch.random.fork_rng():
        yield


# What a layer is in torch


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.Dense(5), (7,)),
        (L.Dense(5, use_bias=False), (4, 7)),
        (L.Conv1D(4, 3), (9, 2)),
        (L.Conv2D(4, 3, strides=2), (9, 8, 2)),
        (L.Conv2D(4, (3, 2), groups=2), (9, 8, 2)),
        (L.Conv3D(4, 2), (5, 4, 4, 2)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_layer_is_the_layer_of_torch_that_computes_the_same(layer, shape):
    x = normal(3, *shape, generator=seeded(1))
    expected, twin = layer(x), as_torch(layer)
    assert type(twin) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    channels_first = x if isinstance(twin, nn.Linear) else x.movedim(-1, 1)
    found = twin(channels_first)
    found = found if isinstance(twin, nn.Linear) else found.movedim(1, -1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert twin.weight.data_ptr() == layer.kernel.value.data_ptr()
    assert fans(twin).fan_in == layer.kernel.value[..., 0].numel()


@pytest.mark.parametrize("layer", [L.LSTM(3), L.Dropout(0.1), L.DepthwiseConv2D(3)], ids=lambda layer: layer.name)
def test_what_has_no_twin_stays_itself(layer):
    assert as_torch(layer) is layer


# Rows


def test_rows_have_the_names_of_layers_and_an_activation_inside_is_a_row_of_its_own():
    model = chain(
        L.Input((20,)),
        L.Dense(8, activation="relu", name="first"),
        L.Dropout(0.5, name="drop"),
        L.Dense(3, name="last"),
    )
    with record(model, full=True) as signals:
        model(inputs()).sum().backward()
    assert [(row.label, row.kind) for row in signals][:2] == [("first", "Dense"), ("first.relu()", "ReLU")]
    assert [row.label for row in signals][2:] == ["drop", "last"]
    linear, kernel = signals["first"], as_torch(model.layers[0])
    expected = nn.functional.linear(inputs(), kernel.weight, kernel.bias).detach().square().mean()
    assert linear.moment == pytest.approx(float(expected), rel=1e-5)
    assert signals["first.relu()"].moment < linear.moment
    assert linear.gradient > 0


def test_theory_knows_kernels():
    report = diagnose(dense(4, 256, activation="relu", kernel_initializer="he_normal"), inputs(), LABELS)
    rows = report.to_frame().set_index("name")
    known = rows["expected"].notna()
    assert known.all()
    assert (rows["moment"] / rows["expected"]).between(0.7, 1.4).all()


def test_layers_inside_layers_are_seen():
    given = L.Input((9, 5))
    h = L.Dense(16, name="wide")(given)
    h = L.LayerNormalization(name="norm")(h + L.MultiHeadAttention(2, 8, name="attention")(h, h))
    model = keras.Model(given, L.Dense(CLASSES, name="head")(L.GlobalAveragePooling1D(name="mean")(h)))
    report = diagnose(model, inputs(9, 5), LABELS)
    labels = [row.label for row in report.signals]
    assert {"wide", "attention.query", "attention.attention_output", "norm", "mean", "head"} <= set(labels)
    assert report.verdict == "healthy", report


# Verdicts


@pytest.mark.parametrize(
    "make",
    [
        lambda: dense(activation="relu", kernel_initializer="he_normal"),
        lambda: dense(activation="tanh"),
        lambda: chain(L.Input((20,)), L.Dense(32), L.BatchNormalization(), L.Activation("relu"), L.Dropout(0.2), L.Dense(3)),
    ],
)  # fmt: skip
def test_a_healthy_model_is_healthy_and_likely_to_train(make):
    report = diagnose(make(), inputs(), LABELS)
    assert report.verdict == "healthy", report
    assert min(report.trainability.sgd, report.trainability.adam) > 0.8


def test_a_loop_over_time_is_judged_by_all_its_steps():
    report = diagnose(chain(L.Input((9, 5)), L.LSTM(16), L.Dense(CLASSES)), inputs(9, 5), LABELS)
    assert report.verdict == "healthy", report


def test_faults_are_found_in_the_layer_where_they_begin():
    deep = diagnose(dense(15, activation="sigmoid"), inputs(), LABELS)
    assert (deep.verdict, deep.findings[0].layer) == ("vanishing", next(row.label for row in deep.signals))
    constant = diagnose(dense(kernel_initializer=keras.initializers.Constant(0.1), activation="tanh"), inputs(), LABELS)
    assert constant.verdict == "symmetric", constant
    squashed = chain(L.Input((20,)), L.Dense(32, activation="relu"), L.Dense(CLASSES, activation="softmax"))
    assert diagnose(squashed, inputs(), LABELS, nn.CrossEntropyLoss()).verdict == "squashed_twice"


def test_a_repair_draws_the_kernels_anew():
    wide = keras.initializers.RandomNormal(stddev=1.0)
    report = diagnose(dense(12, kernel_initializer=wide, activation="relu"), inputs(), LABELS)
    assert report.verdict == "exploding", report
    before = world(report.subject.model)
    repair = report.repaired()
    assert repair.after.verdict == "healthy", repair.after
    assert world(report.subject.model) == before


# No trace


@pytest.mark.parametrize("raises", [False, True])
def test_the_model_is_as_it_was_whatever_is_raised(raises):
    model = chain(
        L.Input((20,)), L.Dense(8, activation="relu"), L.BatchNormalization(), L.Dropout(0.5), L.Dense(3, activation="tanh")
    )  # fmt: skip
    model(inputs())  # Keras notes that it was called
    before = world(model)
    if raises:
        with pytest.raises(Exception), record(model, full=True):  # noqa: B017  whatever Keras says of the shape
            model(torch.ones(2, 7))
    else:
        diagnose(model, inputs(), LABELS)
    assert world(model) == before
    assert model.layers[0].activation is keras.activations.relu


def test_a_monitor_watches_it_train():
    model, data = dense(activation="relu"), inputs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with Monitor(model, optimizer=optimizer, every=1) as monitor:
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(data), LABELS)
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    assert monitor.signals.onsets == ()
    assert any("relu()" in name for name in str(monitor.signals.to_dict()).split("'"))
