"""Many networks as one compute, and learn, exactly what each of them would alone."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD

from d2lstab import Dataset, he_normal_, mlp, residual_mlp, seeded, train
from d2lstab.networks import Block, Layer, PreActivation, Scale, convnet, residual_convnet
from d2lstab.randomness import normal
from d2lstab.training.batched import _EXAMPLE_BY_EXAMPLE, batched

pytestmark = pytest.mark.slow

SEEDS, BATCH = 3, 4
VECTORS, SEQUENCES, PICTURES, VOLUMES = (6,), (6, 5), (6, 5, 5), (6, 3, 3, 3)

with torch.random.fork_rng(devices=[]):
    CASES = {
        "linear": (lambda: nn.Linear(6, 4), VECTORS),
        "linear without bias": (lambda: nn.Linear(6, 4, bias=False), VECTORS),
        "linear on sequences": (lambda: nn.Linear(5, 4), SEQUENCES),
        "one output": (lambda: nn.Linear(6, 1), VECTORS),
        "convolution 1d": (lambda: nn.Conv1d(6, 4, 3, padding=1), SEQUENCES),
        "convolution 2d": (lambda: nn.Conv2d(6, 4, 3, stride=2, bias=False), PICTURES),
        "grouped": (lambda: nn.Conv2d(6, 4, 3, groups=2, dilation=2, padding="same"), PICTURES),
        "convolution 3d": (lambda: nn.Conv3d(6, 2, 2), VOLUMES),
        "batch norm": (lambda: nn.BatchNorm1d(6), VECTORS),
        "batch norm of sequences": (lambda: nn.BatchNorm1d(6, affine=False), SEQUENCES),
        "batch norm of pictures": (lambda: nn.BatchNorm2d(6, momentum=0.3, eps=1e-3), PICTURES),
        "batch norm without memory": (lambda: nn.BatchNorm2d(6, track_running_stats=False), PICTURES),
        "layer norm": (lambda: nn.LayerNorm(6), VECTORS),
        "layer norm over two axes": (lambda: nn.LayerNorm((6, 5), eps=1e-2), SEQUENCES),
        "layer norm without bias": (lambda: nn.LayerNorm(6, bias=False), VECTORS),
        "layer norm without weight": (lambda: nn.LayerNorm(6, elementwise_affine=False), VECTORS),
        "RMS norm": (lambda: nn.RMSNorm(6), VECTORS),
        "group norm": (lambda: nn.GroupNorm(2, 6), PICTURES),
        "trained scale": (lambda: Scale(0.5, train=True), SEQUENCES),
        "fixed scale": (lambda: Scale(0.5), SEQUENCES),
        "layer": (lambda: Layer(nn.Linear(6, 6), torch.tanh, nn.BatchNorm1d(6)), VECTORS),
        "block": (
            lambda: Block(PreActivation(nn.ReLU(), nn.Linear(6, 6)), Scale(0.5), nn.LayerNorm(6)),
            VECTORS,
        ),
        "mlp": (lambda: mlp([6, 5, 5, 3], torch.relu, initializer=he_normal_, norm=nn.BatchNorm1d), VECTORS),
        "residual": (
            lambda: residual_mlp(5, 2, torch.relu, initializer=he_normal_, inputs=6, norm=nn.RMSNorm, post_norm=True),
            VECTORS,
        ),
        "fixup": (lambda: residual_mlp(5, 2, nn.GELU(), initializer=he_normal_, inputs=6, fixup=True), VECTORS),
        "convnet": (lambda: convnet([6, 4, 4], torch.relu, initializer=he_normal_, norm=nn.BatchNorm2d), PICTURES),
        "residual convnet": (
            lambda: residual_convnet(4, 1, torch.relu, initializer=he_normal_, inputs=6, norm=nn.BatchNorm2d),
            PICTURES,
        ),
        "pools": (
            lambda: nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            PICTURES,
        ),
    }


def several(make) -> list[nn.Module]:
    """Modules of one architecture whose parameters and statistics all differ."""
    modules = []
    for seed in range(SEEDS):
        with torch.random.fork_rng(devices=[]):
            module = make().double()
        for index, tensor in enumerate([*module.parameters(), *module.buffers()]):
            if tensor.is_floating_point():
                tensor.data += 0.1 * normal(*tensor.shape, generator=seeded(100 * seed + index), dtype=torch.float64)
        modules.append(module)
    return modules


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES.keys())
def test_a_batched_module_is_its_modules_one_by_one(make, shape, training):
    modules = [module.train(training) for module in several(make)]
    stack = batched(modules).train(training)
    x = normal(SEEDS, BATCH, *shape, generator=seeded(7), dtype=torch.float64)
    own_x, x = x.clone().requires_grad_(), x.requires_grad_()
    together, alone = stack(x), torch.stack([module(each) for module, each in zip(modules, own_x)])
    torch.testing.assert_close(together, alone)
    together.square().sum().backward(), alone.square().sum().backward()
    torch.testing.assert_close(x.grad, own_x.grad)
    names = [name for name, _ in modules[0].named_parameters()]
    assert [name for name, _ in stack.named_parameters()] == names
    for name in names:
        own = torch.stack([module.get_parameter(name).grad for module in modules])
        torch.testing.assert_close(stack.get_parameter(name).grad, own)
    for name, buffer in stack.named_buffers():
        torch.testing.assert_close(buffer, torch.stack([module.get_buffer(name) for module in modules]))


def test_every_module_taken_example_by_example_has_no_parameters_of_its_own():
    without_arguments = [kind for kind in _EXAMPLE_BY_EXAMPLE if "Pool" not in kind.__name__]
    made = [kind() for kind in without_arguments if kind not in (nn.Unflatten, nn.Threshold)]
    assert len(made) > 20
    x = normal(SEEDS, BATCH, 6, 5, generator=seeded(0))
    for module in made:
        assert not list(module.parameters())
        expected = torch.stack([module(each) for each in x])
        torch.testing.assert_close(batched([copy.deepcopy(module) for _ in range(SEEDS)])(x), expected)


class Own(nn.Linear):
    """A subclass may do anything."""

    def forward(self, x):
        return 2 * super().forward(x)


class Hooked(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 4))
        self[0].register_forward_hook(lambda module, inputs, output: 3 * output)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Own(6, 4),
        lambda: Hooked()[0],
        lambda: nn.PReLU(),
        lambda: nn.Dropout(0.5),
        lambda: nn.BatchNorm1d(6, momentum=None),
        lambda: nn.Conv1d(6, 4, 3, padding=1, padding_mode="circular"),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
        lambda: nn.Sequential(nn.Linear(6, 6), nn.PReLU()),
    ],
    ids=["subclass", "hook", "PReLU", "dropout", "momentum", "padding", "parametrized", "inside"],
)
def test_a_module_whose_batched_form_is_not_known_is_left_to_others(make):
    assert batched([make(), make()]) is None


def test_modules_that_differ_have_no_batched_form():
    assert batched([nn.ReLU(), nn.Tanh()]) is None
    assert batched([nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU(), nn.ReLU())]) is None


# Training


def data(n: int = 60) -> Dataset:
    targets = torch.arange(n) % 3
    inputs = F.one_hot(targets, 6).double() + 0.5 * normal(n, 6, generator=seeded(0), dtype=torch.float64)
    return Dataset(inputs[: n // 2], targets[: n // 2], inputs[n // 2 :], targets[n // 2 :])


quick = partial(train, data=data(), optimizer=partial(SGD, lr=0.1), steps=10, batch=10, progress=False)


def with_batch_norm(seed: int) -> nn.Module:
    return mlp([6, 5, 3], torch.tanh, initializer=he_normal_, norm=nn.BatchNorm1d, seed=seed, dtype=torch.float64)


def with_prelu(seed: int) -> nn.Module:
    return mlp([6, 5, 3], nn.PReLU(), initializer=he_normal_, seed=seed, dtype=torch.float64)


def with_tied_weights(seed: int) -> nn.Module:
    model = mlp([6, 6, 6, 3], torch.tanh, initializer=he_normal_, seed=seed, dtype=torch.float64)
    model.layer2.linear.weight = model.layer1.linear.weight
    return model


def with_one_module_twice(seed: int) -> nn.Module:
    model = mlp([6, 6, 3], torch.tanh, initializer=he_normal_, seed=seed, dtype=torch.float64)
    return nn.Sequential(model.layer1, model.layer1, model.output)


def with_a_slope_of_its_own(seed: int) -> nn.Module:
    return mlp([6, 5, 3], nn.LeakyReLU(0.1 * seed), initializer=he_normal_, seed=seed, dtype=torch.float64)


def with_a_frozen_layer(seed: int) -> nn.Module:
    model = with_batch_norm(seed)
    model.layer1.linear.requires_grad_(False)
    return model


def residual(seed: int) -> nn.Module:
    settings = {"train_scale": True, "branch_scale": 0.0, "inputs": 6, "outputs": 3}
    return residual_mlp(5, 2, torch.relu, initializer=he_normal_, seed=seed, dtype=torch.float64, **settings)


NETWORKS = {
    with_batch_norm: True,
    with_prelu: True,
    with_tied_weights: True,
    with_one_module_twice: True,
    with_a_slope_of_its_own: False,
    with_a_frozen_layer: True,
    residual: True,
}


@pytest.mark.parametrize(("make", "together"), NETWORKS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_learnt_in_company_is_what_is_learnt_alone_and_comes_back_in_the_models(make, together):
    company = quick(make, seeds=range(3))
    assert company.together is together
    for seed, model in enumerate(company.models):
        alone = quick(make, seeds=[seed])
        torch.testing.assert_close(company.loss[seed], alone.loss[0])
        torch.testing.assert_close(dict(model.state_dict()), dict(alone.models[0].state_dict()))
        torch.testing.assert_close(company.accuracy[seed], alone.accuracy[0])
    fresh = make(0).state_dict()
    learnt = company.models[0].state_dict()
    assert any(not torch.equal(fresh[name], learnt[name]) for name in fresh)
    frozen = {name for name, parameter in make(0).named_parameters() if not parameter.requires_grad}
    assert all(torch.equal(fresh[name], learnt[name]) for name in frozen)


def test_a_trained_model_computes_its_own_accuracy():
    history = quick(with_batch_norm, seeds=range(3), steps=50)
    held_out = data()
    for model, accuracy in zip(history.models, history.accuracy):
        right = model.eval()(held_out.test_inputs).argmax(-1) == held_out.test_targets
        torch.testing.assert_close(right.float().mean(), accuracy)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_an_optimizer_that_mixes_entries_sees_each_seed_alone():
    def without_bias(seed):
        return mlp([6, 5, 3], torch.tanh, initializer=he_normal_, bias=False, seed=seed)

    muon = partial(torch.optim.Muon, lr=0.02)
    company, alone = (quick(without_bias, optimizer=muon, seeds=seeds) for seeds in (range(3), [2]))
    assert not company.together
    torch.testing.assert_close(company.loss[2], alone.loss[0])


def test_one_module_for_two_seeds_is_refused():
    model = with_prelu(0)
    with pytest.raises(ValueError, match=r"one module for two seeds\nexpected a new one"):
        quick(lambda seed: model, seeds=range(2))


def with_targets(targets: torch.Tensor) -> Dataset:
    whole = data()
    return Dataset(whole.inputs, targets, whole.test_inputs, whole.test_targets)


@pytest.mark.parametrize("wrong", [3, -1])
@pytest.mark.parametrize("seeds", [[0], range(2)], ids=["alone", "company"])
def test_a_label_without_an_output_is_named(wrong, seeds):
    targets = data().targets.clone()
    targets[20] = wrong
    with pytest.raises(ValueError, match=f"targets with class {wrong} for 3 outputs\nexpected 0 to 2"):
        quick(with_batch_norm, data=with_targets(targets), seeds=seeds)


def test_torchs_label_for_examples_to_ignore_is_no_mistake():
    targets = data().targets.clone()
    targets[:5] = -100
    company, alone = (quick(with_batch_norm, data=with_targets(targets), seeds=seeds) for seeds in (range(2), [1]))
    assert company.together
    torch.testing.assert_close(company.loss[1], alone.loss[0])


def test_a_run_in_which_every_seed_diverged_says_so():
    def hopeless(seed):
        model = with_prelu(seed)
        nn.init.constant_(model.output.bias, torch.nan)
        return model

    history = quick(hopeless, seeds=range(2))
    assert "diverged: all of 2 seeds" in repr(history)
    assert history.loss.shape == (2, 10)
    assert "2 of 2 seeds diverged" in history.plot(label="loss").get_legend().get_texts()[0].get_text()
