"""Networks at the points of a plane of scales: what each is drawn with, and what the map says of its training."""

from functools import partial
from itertools import chain

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from d2lstab import Dataset, digits, lecun_normal_, mlp, seeded, train, trainability_map
from d2lstab.randomness import normal
from d2lstab.trainability import phase_map

pytestmark = pytest.mark.slow

INPUTS = normal(40, 6, generator=seeded(0))
LITTLE = Dataset(INPUTS, torch.arange(40) % 3, INPUTS, torch.arange(40) % 3)
SIZES = {"depth": 3, "width": 8, "steps": 4, "batch": 10, "progress": False}
quick = partial(trainability_map, torch.tanh, LITTLE, optimizer=partial(SGD, lr=0.1), **SIZES)
W, B = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.0, 0.5])


def test_an_entry_is_the_test_accuracy_of_the_network_of_its_number_trained_by_itself():
    found = quick(sigma_w=W, sigma_b=[0.0], seeds=range(2))
    assert found.accuracy.shape == found.diverged.shape == (2, 1, 3)
    points = [(seed, float(w)) for seed in range(2) for w in W]
    for (seed, w), accuracy in zip(points, found.accuracy.flatten()):
        number, initializer = phase_map._number(seed, w, 0.0), partial(lecun_normal_, gain=w)
        make = partial(mlp, [6, 8, 8, 8, 3], torch.tanh, initializer=initializer)
        run = train(
            lambda seed, make=make: make(seed=seed), LITTLE, optimizer=partial(SGD, lr=0.1), steps=4, seeds=[number], batch=10
        )  # fmt: skip
        assert accuracy == pytest.approx(float(run.accuracy))


def test_weights_and_biases_have_the_scales_of_their_point(monkeypatch):
    models = []

    def watched(make_model, *arguments, **settings):
        run = train(make_model, *arguments, **settings)
        models.extend(run.models)
        return run

    monkeypatch.setattr(phase_map, "train", watched)
    found = quick(sigma_w=W, sigma_b=B, width=200, depth=2, optimizer=partial(SGD, lr=0.0), steps=1)
    for model, (b, w) in zip(models, torch.cartesian_prod(found.sigma_b, found.sigma_w)):
        model.requires_grad_(False)
        weight, biases = model.layer2.linear.weight, torch.cat([model.layer1.linear.bias, model.layer2.linear.bias])
        assert weight.std() * 200**0.5 == pytest.approx(float(w), rel=4 / (2 * 200**2) ** 0.5)
        assert biases.std() == pytest.approx(float(b), rel=4 / (2 * 400) ** 0.5)
    assert len({float(model.layer1.linear.weight[0, 0] / w) for model, w in zip(models, W.repeat(2))}) == 6


def test_a_seed_means_the_same_map_alone_or_in_company():
    company, alone = quick(sigma_w=W, sigma_b=B, seeds=[1, 5]), quick(sigma_w=W, sigma_b=B, seeds=5)
    torch.testing.assert_close(company.accuracy[1], alone.accuracy[0], rtol=0, atol=1.1 / 40)  # one example may tip


def test_networks_train_in_stacks_that_hold_all_and_never_too_many(monkeypatch):
    stacks = []
    monkeypatch.setattr(phase_map, "train", lambda *a, seeds, **k: stacks.append(seeds) or train(*a, seeds=seeds, **k))
    quick(sigma_w=torch.linspace(1, 2, 7), sigma_b=B, seeds=range(3), steps=1)
    assert len(set(chain.from_iterable(stacks))) == 42
    assert {len(stack) for stack in stacks} == {14}


def test_a_network_that_diverges_is_told():
    found = trainability_map(
        nn.Identity(), LITTLE, sigma_w=[0.0, 2.0], sigma_b=[0.0], optimizer=partial(SGD, lr=1e9), **SIZES
    )
    assert (found.diverged == torch.tensor([False, True])).all()  # without weights only the last bias has a gradient
    assert found.diverged.shape == (8, 1, 2)


def test_a_cell_does_not_change_with_the_grid_around_it():
    whole = quick(sigma_w=W, sigma_b=B, seeds=range(2))
    for row, column in ((0, 0), (1, 2)):
        cell = quick(sigma_w=W[column : column + 1], sigma_b=B[row : row + 1], seeds=range(2))
        torch.testing.assert_close(
            cell.accuracy.flatten(), whole.accuracy[:, row, column], rtol=0, atol=1.1 / 40
        )  # one example may tip: a stack of another size rounds otherwise
    numbers = {phase_map._number(seed, w, b) for seed in range(9) for w in W.tolist() for b in B.tolist()}
    assert len(numbers) == 54


class Stopping:
    """Runs some calls, then is stopped by hand."""

    def __init__(self, call, after: int):
        self.call, self.after = call, after

    def __call__(self, *arguments, **settings):
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return self.call(*arguments, **settings)


def test_an_interrupted_map_keeps_the_points_done(monkeypatch):
    settings = {"sigma_w": torch.linspace(1, 2, 7), "sigma_b": B, "seeds": range(3), "steps": 1}
    whole = quick(**settings)
    monkeypatch.setattr(phase_map, "train", Stopping(train, 2))
    found = quick(**settings)
    assert found.interrupted
    assert not whole.interrupted
    assert torch.equal(found.accuracy.flatten()[:28], whole.accuracy.flatten()[:28])
    assert found.accuracy.flatten()[28:].isnan().all()
    assert not found.diverged.flatten()[28:].any()
    assert found.plot() is not None


def test_a_map_that_is_interrupted_before_the_first_point_is_none(monkeypatch):
    monkeypatch.setattr(phase_map, "train", Stopping(train, 0))
    with pytest.raises(KeyboardInterrupt):
        quick(sigma_w=W, sigma_b=B)


def test_it_draws_medians_over_the_plane():
    found = quick(sigma_w=W, sigma_b=B, seeds=range(3))
    ax = found.plot()
    assert ax.collections[0].get_array().flatten().tolist() == found.accuracy.median(0).values.flatten().tolist()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("σ_w", "σ_b")
    assert found.plot(ax) is ax


@pytest.mark.parametrize(("w", "b", "name"), [(W, [0.1], "σ_w"), ([1.0], B, "σ_b"), ([1.0], [0.1], "σ_w")])
def test_it_draws_one_row_or_column_as_a_line(w, b, name):
    found = quick(sigma_w=w, sigma_b=b, seeds=range(3))
    ax = found.plot(label="three networks")
    assert ax.get_xlabel() == name
    assert ax.lines[0].get_ydata().tolist() == found.accuracy.median(0).values.flatten().tolist()


def test_for_seeds_that_the_chapter_does_not_use_networks_learn_at_the_edge_and_beside_it_not():
    adam = partial(Adam, lr=0.02 / 24)
    found = trainability_map(
        torch.tanh, digits(), sigma_w=[0.8, 1.4, 2.6], sigma_b=[0.3], seeds=range(100, 104), optimizer=adam, progress=False
    )  # fmt: skip
    order, edge, chaos = found.accuracy.median(0).values[0]
    assert edge > 0.5 > 0.2 + max(order, chaos)


@pytest.mark.parametrize("name", ["sigma_w", "sigma_b"])
@pytest.mark.parametrize("scales", [[], [[1.0]], 1.0, [-0.1], [torch.inf], [torch.nan]])
def test_scales_that_are_no_line_are_refused(name, scales):
    with pytest.raises(ValueError, match=f"{name}=.*\nexpected a line of scales from 0 up"):
        quick(**{"sigma_w": W, "sigma_b": B} | {name: scales})


@pytest.mark.parametrize(
    "data",
    [LITTLE.shaped(2, 3), Dataset(INPUTS, INPUTS[:, 0], INPUTS, INPUTS[:, 0])],
    ids=["pictures", "no classes"],
)
def test_data_of_another_form_are_refused(data):
    with pytest.raises(ValueError, match="expected inputs \\(examples, features\\) and class numbers"):
        trainability_map(torch.tanh, data, sigma_w=W, sigma_b=B, optimizer=partial(SGD, lr=0.1))


@pytest.mark.parametrize("size", ["depth", "width", "steps", "batch"])
def test_sizes_below_1_are_refused(size):
    with pytest.raises(ValueError, match=f"{size}=0 of type int"):
        quick(sigma_w=W, sigma_b=B, **{size: 0})
