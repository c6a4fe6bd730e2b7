"""Every remedy on every patient: what the matrix holds, and that its conclusions hold for other seeds too."""

from dataclasses import dataclass, replace
from functools import partial
from math import log10

import pytest
import torch
from torch import nn
from torch.optim import SGD

from d2lstab import Dataset, digits, he_normal_, mlp, remedies, remedy_matrix, seeded, train, xavier_normal_
from d2lstab.randomness import normal
from d2lstab.remedies import PATIENTS, REMEDIES, Patient, fitting_initializer, gradient_ratio, together
from d2lstab.training import clip_by_global_norm_

pytestmark = pytest.mark.slow

INPUTS = normal(40, 64, generator=seeded(0))
LITTLE = Dataset(INPUTS, torch.arange(40) % 10, -INPUTS[:5], torch.arange(5))
SHALLOW = Patient(torch.relu, he_normal_, depth=4, width=8)
quick = partial(remedy_matrix, LITTLE, steps=5, seeds=range(3), batch=10, progress=False)


@pytest.mark.parametrize("name", PATIENTS)
@pytest.mark.parametrize("remedy", REMEDIES)
def test_every_patient_under_every_remedy_maps_digits_to_ten_numbers_through_as_many_layers(name, remedy):
    patient = REMEDIES[remedy](PATIENTS[name])
    network = patient.network(seed=0)
    assert network(INPUTS).shape == (40, 10)
    assert sum(isinstance(module, nn.Linear) for module in network.modules()) == PATIENTS[name].depth


@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_remedy_leaves_the_patient_as_it_was_and_helps_once(remedy):
    once = REMEDIES[remedy](SHALLOW)
    assert Patient(torch.relu, he_normal_, depth=4, width=8) == SHALLOW
    assert REMEDIES[remedy](once) == once


def test_each_single_remedy_changes_one_field_and_all_five_change_five():
    patient = PATIENTS["sigmoid N(0, 1)"]
    for name, remedy in REMEDIES.items():
        changed = sum(value != before for value, before in zip(vars(remedy(patient)).values(), vars(patient).values()))
        assert changed == {"nothing": 0, "all five": 5}.get(name, 1), name


def test_the_fitting_initializer_is_he_for_a_relu_and_xavier_else():
    assert fitting_initializer(PATIENTS["ReLU N(0, 1)"]).initializer is he_normal_
    assert fitting_initializer(PATIENTS["tanh N(0, 1)"]).initializer is xavier_normal_


def test_remedies_together_act_in_turn():
    wider, twice = partial(replace, width=16), lambda patient: replace(patient, width=2 * patient.width)
    assert (together(wider, twice)(SHALLOW).width, together(twice, wider)(SHALLOW).width) == (32, 16)
    assert together()(SHALLOW) is SHALLOW


def test_an_entry_is_the_training_accuracy_of_that_case_trained_by_itself():
    matrix = quick(patients={"deep": replace(SHALLOW, depth=6), "shallow": SHALLOW}, remedies=REMEDIES)
    assert matrix.accuracy.shape == matrix.log10_ratio.shape == matrix.diverged.shape == (2, 7, 3)
    treated = REMEDIES["batch norm"](SHALLOW)
    run = train(treated.network, LITTLE, optimizer=treated.optimizer, steps=5, seeds=range(3), batch=10, progress=False)
    for seed, network in enumerate(run.models):
        right = (network.eval()(LITTLE.inputs).argmax(-1) == LITTLE.targets).double().mean()
        assert matrix.of("shallow", "batch norm")[seed] == pytest.approx(float(right))


def test_a_patient_is_trained_with_its_clipping():
    still = partial(replace, clip=partial(clip_by_global_norm_, limit=1e-12))
    matrix = quick(patients={"it": SHALLOW}, remedies={"still": still}, steps=20)
    for seed, accuracy in enumerate(matrix.of("it", "still")):
        untrained = SHALLOW.network(seed)(LITTLE.inputs).argmax(-1)
        assert accuracy == pytest.approx(float((untrained == LITTLE.targets).double().mean()))


def test_a_remedy_that_changes_nothing_has_the_entries_of_nothing():
    matrix = quick(patients={"it": SHALLOW}, remedies={name: REMEDIES[name] for name in ("nothing", "ReLU")})
    assert torch.equal(matrix.of("it", "nothing"), matrix.of("it", "ReLU"))


def test_equal_cases_are_trained_once(monkeypatch):
    drawn = []
    network = Patient.network
    monkeypatch.setattr(Patient, "network", lambda self, seed: drawn.append(seed) or network(self, seed))
    quick(patients={"one": SHALLOW, "other": replace(SHALLOW)}, remedies={"nothing": together()})
    once = len(drawn)
    quick(patients={"one": SHALLOW}, remedies={"nothing": together()})
    assert len(drawn) == 2 * once


def test_the_gradient_ratio_of_a_linear_layer_is_that_of_its_weights():
    network = nn.Linear(64, 10, bias=False)
    with torch.no_grad():
        nn.init.orthogonal_(network.weight, gain=1000.0, generator=seeded(1))
    assert gradient_ratio(network, LITTLE, batch=10) == pytest.approx(log10(1000))


def test_a_gradient_that_float32_cannot_hold_still_has_its_ratio():
    vanishing = replace(PATIENTS["ReLU N(0, 0.01²)"], depth=50)
    assert gradient_ratio(vanishing.network(0), LITTLE, batch=10) < -60


def test_a_patient_and_a_remedy_of_ones_own():
    @dataclass(frozen=True)
    class Mine(Patient):
        bias: bool = True

        def network(self, seed):
            return mlp([64, self.width, 10], self.activation, initializer=self.initializer, bias=self.bias, seed=seed)

    remedies = {"no bias": partial(replace, bias=False), "slower": partial(replace, optimizer=partial(SGD, lr=1e-3))}
    matrix = quick(patients={"mine": Mine(torch.tanh, he_normal_)}, remedies=remedies)
    assert matrix.patients == ("mine",)
    assert matrix.remedies == ("no bias", "slower")
    assert matrix.accuracy.isfinite().all()


def test_a_diverged_seed_is_told():
    hopeless = replace(SHALLOW, optimizer=partial(SGD, lr=1e9))
    matrix = quick(patients={"hopeless": hopeless}, remedies={"nothing": together()})
    assert matrix.diverged.all()


def test_a_matrix_that_is_interrupted_before_the_first_cell_is_none():
    class Stopped(SGD):
        def step(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(patients={"it": replace(SHALLOW, optimizer=partial(Stopped, lr=0.1))}, remedies={"nothing": together()})


def test_it_draws_its_medians_side_by_side():
    matrix = quick(patients={"a": SHALLOW, "b": replace(SHALLOW, depth=6)}, remedies={"nothing": together()})
    left, right = matrix.plot()
    assert [text.get_text() for text in left.texts] == [
        f"{round(100 * float(v))}" for v in matrix.accuracy[:, 0].median(-1).values
    ]
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]
    assert matrix.plot((left, right)) == (left, right)


@pytest.mark.parametrize("empty", [{"patients": {}}, {"remedies": {}}])
def test_an_empty_matrix_is_refused(empty):
    with pytest.raises(ValueError, match="expected at least one of each"):
        quick(**empty)


def test_an_unknown_cell_is_refused():
    matrix = quick(patients={"it": SHALLOW}, remedies={"nothing": together()})
    with pytest.raises(ValueError, match="'prayer' is not in the matrix\nexpected one of nothing"):
        matrix.of("it", "prayer")


def median(patient: str, remedy: str) -> float:
    """The median accuracy of one cell, over seeds that the chapter does not use."""
    cell = {"patients": {patient: PATIENTS[patient]}, "remedies": {remedy: REMEDIES[remedy]}}
    return float(remedy_matrix(digits(), **cell, seeds=range(100, 108), progress=False).accuracy.median())


@pytest.mark.parametrize("patient", ["ReLU N(0, 1)", "ReLU He, 50 layers"])  # 20 layers are all alike after five
def test_for_other_seeds_too_all_five_repair(patient):
    assert median(patient, "all five") > 0.7


@pytest.mark.parametrize("patient", ["tanh N(0, 1)", "ReLU N(0, 1)", "ReLU torch default"])
def test_for_other_seeds_too_clipping_alone_repairs_nobody_in_60_steps(patient):
    assert median(patient, "clipping") < 0.4


@pytest.mark.parametrize("remedy", ["ReLU", "initialization", "batch norm", "residual"])
def test_for_other_seeds_too_nothing_single_repairs_a_relu_with_weights_of_1_in_60_steps(remedy):
    assert median("ReLU N(0, 1)", remedy) < 0.7


def test_for_other_seeds_too_each_remedy_has_its_patient():
    assert median("tanh N(0, 1)", "initialization") > 0.6
    assert median("sigmoid N(0, 1)", "batch norm") > 0.7
    assert median("ReLU torch default", "residual") > 0.85
    assert median("ReLU N(0, 1)", "residual") < 0.2


def test_an_interrupted_matrix_keeps_the_cells_done(monkeypatch):
    calls = []

    def stopping(*arguments, **settings):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return train(*arguments, **settings)

    patients, few = (
        {"sigmoid": PATIENTS["sigmoid Xavier"]},
        {name: REMEDIES[name] for name in ("nothing", "clipping", "ReLU")},
    )
    settings = {"patients": patients, "remedies": few, "steps": 2, "seeds": range(2), "progress": False}
    whole = remedy_matrix(digits(), **settings)
    monkeypatch.setattr(remedies, "train", stopping)
    found = remedy_matrix(digits(), **settings)
    assert found.interrupted
    assert not whole.interrupted
    for part in ("accuracy", "log10_ratio"):
        assert torch.equal(getattr(found, part)[:, :2], getattr(whole, part)[:, :2])
        assert getattr(found, part)[:, 2].isnan().all()
    assert [text.get_text() for text in found.plot()[0].texts][2] == "–"


@pytest.mark.parametrize(("depth", "right"), [(3, False), (4, True), (21, False), (20, True)])
def test_a_residual_patient_has_as_many_layers_as_it_says_or_is_refused(depth, right):
    patient = Patient(torch.relu, he_normal_, depth=depth, residual=True)
    if right:
        maps = [module for module in patient.network(0).modules() if isinstance(module, nn.Linear)]
        assert len(maps) == depth
    else:
        with pytest.raises(ValueError, match=rf"depth={depth} of a residual network\nexpected an even"):
            patient.network(0)
