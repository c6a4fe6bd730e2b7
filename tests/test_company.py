"""A seed in company is the same seed alone, whatever its model, its optimizer and its loss look at."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adagrad, AdamW

from d2lstab import Dataset, he_normal_, mlp, seeded, train
from d2lstab.networks import Layer
from d2lstab.randomness import normal
from d2lstab.training.likeness import alike

pytestmark = pytest.mark.slow

SEEDS = range(3)


def data(n: int = 60) -> Dataset:
    targets = torch.arange(n) % 3
    inputs = F.one_hot(targets, 6).double() + 0.5 * normal(n, 6, generator=seeded(0), dtype=torch.float64)
    return Dataset(inputs[: n // 2], targets[: n // 2], inputs[n // 2 :], targets[n // 2 :])


def network(seed: int, activation=torch.tanh, norm=nn.LayerNorm) -> nn.Sequential:
    return mlp([6, 5, 3], activation, initializer=he_normal_, norm=norm, seed=seed, dtype=torch.float64)


quick = partial(train, data=data(), optimizer=partial(SGD, lr=0.1), steps=10, batch=10, progress=False)


def assert_the_same_alone(make, *, together: bool, **settings) -> None:
    """Losses and everything learnt, of each seed; whether they were one stack."""
    company = quick(make, seeds=SEEDS, **settings)
    assert company.together is together
    for seed, model in enumerate(company.models):
        alone = quick(make, seeds=[seed], **settings)
        torch.testing.assert_close(company.loss[seed], alone.loss[0])
        torch.testing.assert_close(dict(model.state_dict()), dict(alone.models[0].state_dict()))
        torch.testing.assert_close(company.accuracy[seed], alone.accuracy[0], equal_nan=True)


# Optimizers that look at parameters


def by_dimension(parameters, optimizer=AdamW):
    parameters = list(parameters)
    matrices, vectors = ([p for p in parameters if (p.dim() >= 2) is kind] for kind in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.5}, {"params": vectors, "weight_decay": 0.0}]
    return optimizer(groups, lr=0.05)


def by_size(parameters):
    parameters = list(parameters)
    return SGD([{"params": [p], "lr": 1.0 / p.numel()} for p in parameters], momentum=0.9)


def without_vectors(parameters):
    return SGD([p for p in parameters if p.dim() >= 2], lr=0.1)


def in_another_order(parameters):
    return by_dimension(list(parameters)[::-1], partial(Adagrad, initial_accumulator_value=0.1))


def from_an_iterator(parameters):
    return SGD((p for p in parameters), lr=0.1)


@pytest.mark.parametrize("optimizer", [by_dimension, by_size, without_vectors, in_another_order, from_an_iterator])
def test_an_optimizer_sees_parameters_of_their_true_shape(optimizer):
    assert_the_same_alone(network, together=True, optimizer=optimizer)


def test_biases_without_decay_have_the_same_norm_in_company():
    decayed = quick(network, optimizer=by_dimension, seeds=SEEDS, steps=50).models[1]
    alone = quick(network, optimizer=by_dimension, seeds=[1], steps=50).models[0]
    torch.testing.assert_close(decayed.output.bias.norm(), alone.output.bias.norm())


def test_an_optimizer_whose_groups_hang_on_the_values_is_run_alone():
    def by_value(parameters):
        parameters = list(parameters)
        return SGD([{"params": [p], "lr": 0.1 * float(p.detach().abs().mean())} for p in parameters])

    assert_the_same_alone(network, together=False, optimizer=by_value)


def test_an_optimizer_that_groups_by_name_finds_the_model_it_belongs_to():
    models = []

    def remembered(seed):
        models.append(network(seed))
        return models[-1]

    def by_name(parameters):
        """Groups of a model that it knows, whichever parameters it is given."""
        first = next(iter(parameters))
        (model,) = [model for model in models if any(p is first for p in model.parameters())]
        named = dict(model.named_parameters())
        biases = [p for name, p in named.items() if name.endswith("bias")]
        weights = [p for name, p in named.items() if not name.endswith("bias")]
        return SGD([{"params": weights, "weight_decay": 0.5}, {"params": biases}], lr=0.1)

    assert_the_same_alone(remembered, together=True, optimizer=by_name)


@pytest.mark.parametrize("seeds", [[0], SEEDS], ids=["alone", "company"])
def test_an_optimizer_of_other_parameters_is_refused(seeds):
    elsewhere = network(7)
    with pytest.raises(ValueError, match=r"optimizer returned one of 6 parameters that it was not given\nexpected"):
        quick(network, optimizer=lambda parameters: SGD(elsewhere.parameters(), lr=0.1), seeds=seeds)


def test_a_users_own_class_is_not_taken_for_torchs_of_the_same_name():
    own = type("SGD", (torch.optim.SGD,), {"step": normalized_step})
    assert_the_same_alone(network, together=False, optimizer=partial(own, lr=0.1))


def normalized_step(self, closure=None):
    for group in self.param_groups:
        for parameter in group["params"]:
            parameter.grad /= parameter.grad.norm()
    return torch.optim.SGD.step(self, closure)


def test_hooks_of_an_optimizer_see_each_seed_alone():
    def hooked(parameters):
        updates = SGD(parameters, lr=0.1)
        updates.register_step_pre_hook(lambda optimizer, args, kwargs: normalized_gradients(optimizer))
        return updates

    assert_the_same_alone(network, together=False, optimizer=hooked)


def normalized_gradients(optimizer):
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad /= parameter.grad.norm()


def test_hooks_of_a_parameter_see_each_seed_alone():
    def hooked(seed):
        model = network(seed)
        model.output.weight.register_hook(lambda gradient: gradient / gradient.norm())
        return model

    assert_the_same_alone(hooked, together=False)


# Models that differ in more than their numbers


def frozen(seed):
    model = network(seed)
    model[seed % 2].requires_grad_(seed == 2)
    return model


def momentum(seed):
    return network(seed, norm=partial(nn.BatchNorm1d, momentum=0.1 * (seed + 1)))


def eps(seed):
    return network(seed, norm=partial(nn.LayerNorm, eps=1e-5 if seed < 2 else 1e-3))


def slope(seed):
    return network(seed, nn.LeakyReLU(0.1 + 1e-4 * seed))


def dropout(seed):
    return nn.Sequential(network(seed), nn.Dropout(0.1 * seed))


def functional_slope(seed):
    return network(seed, lambda z: F.leaky_relu(z, 0.1 + 1e-4 * seed))


def partial_slope(seed):
    return network(seed, partial(F.leaky_relu, negative_slope=0.1 + 1e-4 * seed))


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.settings = {"factors": [factor]}

    def forward(self, x):
        return x * self.settings["factors"][0]


def nested(seed):
    return nn.Sequential(network(seed), Scaled(1 + 1e-4 * seed))


def plain_tensor(seed):
    return nn.Sequential(network(seed), Scaled(torch.tensor(1 + 1e-4 * seed)))


def forward_of_its_own(seed):
    model = network(seed)
    model.output.forward = lambda x: F.linear(x, model.output.weight) * (1 + 1e-4 * seed)
    return model


@pytest.mark.parametrize(
    "make",
    [frozen, momentum, eps, slope, dropout, functional_slope, partial_slope, nested, plain_tensor, forward_of_its_own],
)
def test_models_that_differ_in_a_setting_keep_it(make):
    assert_the_same_alone(make, together=False)


class NoisyWhileTraining(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, self.training)


def test_a_module_that_draws_only_while_training_is_found_out_before():
    assert_the_same_alone(lambda seed: nn.Sequential(network(seed), NoisyWhileTraining()), together=False)


def test_a_function_written_anew_for_each_seed_is_the_same_function():
    assert_the_same_alone(lambda seed: network(seed, lambda z: torch.tanh(2 * z)), together=True)


def test_models_are_alike_when_only_their_numbers_differ():
    assert alike([network(0), network(1)])
    assert alike([network(0), copy.deepcopy(network(0))])
    assert not alike([network(0), network(1).float()])
    assert not alike([network(0), mlp([6, 5, 5, 3], torch.tanh, initializer=he_normal_)])
    assert not alike([nn.LayerNorm(3), nn.LayerNorm(3, bias=False)])
    assert not alike([Layer(nn.Linear(3, 3), torch.tanh), Layer(nn.Linear(3, 3), torch.relu)])


def test_a_tied_layer_is_not_alike_two_layers():
    tied = network(0)
    tied.output.bias = nn.Parameter(tied.layer1.norm.bias.detach()[:3].clone())
    own, shared = (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2))
    shared[1].weight = shared[0].weight
    assert not alike([own, shared])


def test_models_that_hold_themselves_or_each_other_are_compared_all_the_same():
    first, second = (nn.Linear(3, 3) for _ in range(2))
    first.friends, second.friends = [[first]], [[second]]
    assert alike([first, second])


def test_a_generator_in_a_module_belongs_to_its_seed():
    def generating(seed):
        model = network(seed)
        model.generator = torch.Generator().manual_seed(seed)
        return model

    assert_the_same_alone(generating, together=False)


# Accuracy


class PerPlace(nn.Module):
    """Classes along `axis` for each of three places."""

    def __init__(self, seed, axis):
        super().__init__()
        self.inner = network(seed)
        self.axis = axis

    def forward(self, x):
        return self.inner(x).movedim(-1, self.axis)


def places(axis: int, places: int) -> tuple:
    whole = data()

    def repeated(tensor):
        return torch.stack([tensor.roll(shift, 0) for shift in range(places)], 1)

    sequences = Dataset(
        repeated(whole.inputs), repeated(whole.targets), repeated(whole.test_inputs), repeated(whole.test_targets)
    )
    return partial(PerPlace, axis=axis), sequences


def last_axis(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


@pytest.mark.parametrize("count", [3, 4], ids=["as many places as classes", "more places"])
@pytest.mark.parametrize(
    "loss", [F.cross_entropy, nn.CrossEntropyLoss(), partial(F.cross_entropy, label_smoothing=0.1)]
)
def test_accuracy_reads_classes_where_the_loss_reads_them(loss, count):
    make, sequences = places(1, count)
    history = quick(make, data=sequences, loss=loss, seeds=SEEDS, steps=100)
    for model, accuracy in zip(history.models, history.accuracy):
        right = model.eval()(sequences.test_inputs).argmax(1) == sequences.test_targets
        torch.testing.assert_close(accuracy, right.float().mean())
    assert (history.accuracy > 0.6).all()


def test_classes_on_the_last_axis_are_found_by_their_shape():
    make, sequences = places(-1, 4)
    history = quick(make, data=sequences, loss=last_axis, seeds=SEEDS, steps=100)
    assert (history.accuracy > 0.6).all()


def test_accuracy_is_unknown_where_two_axes_may_be_the_classes():
    make, sequences = places(-1, 3)
    assert quick(make, data=sequences, loss=last_axis, seeds=SEEDS).accuracy.isnan().all()


def test_accuracy_is_unknown_where_outputs_name_no_class():
    whole = data()
    one = Dataset(whole.inputs, whole.targets % 2, whole.test_inputs, whole.test_targets % 2)

    def logit(seed):
        return mlp([6, 5, 1], torch.tanh, initializer=he_normal_, seed=seed, dtype=torch.float64)

    def binary(outputs, targets):
        return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs))

    assert quick(logit, data=one, loss=binary, seeds=SEEDS).accuracy.isnan().all()


# Gradients


@pytest.mark.parametrize("disabled", [torch.no_grad, torch.inference_mode])
def test_training_where_gradients_are_disabled_is_training_all_the_same(disabled):
    expected = quick(network, seeds=[1]).loss
    with disabled():
        torch.testing.assert_close(quick(network, data=data(), seeds=[1]).loss, expected)
        assert not torch.is_grad_enabled()
