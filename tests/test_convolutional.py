"""Convolutional networks: plain torch layer by layer, pictures of one size, and the contracts of their dense siblings."""

from functools import partial
from math import log

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import ACTIVATIONS, INITIALIZERS, digits, he_normal_, seeded
from d2lstab.initializers import fixup_factor
from d2lstab.networks import convnet, residual_convnet
from d2lstab.randomness import normal
from tests.truth import truth


def plain(**changes) -> nn.Sequential:
    return convnet(**{"channels": [2, 4, 6], "activation": torch.tanh, "initializer": he_normal_, **changes})


def residual(**changes) -> nn.Sequential:
    settings = {"channels": 4, "blocks": 2, "activation": torch.tanh, "initializer": he_normal_, "inputs": 2}
    return residual_convnet(**{**settings, **changes})


def pictures(*shape: int, **kinds) -> torch.Tensor:
    return normal(*(shape or (3, 2, 5, 7)), generator=seeded(0), **kinds)


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


both = pytest.mark.parametrize("network", [plain, residual], ids=["plain", "residual"])


# What they compute


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_a_plain_one_is_convolutions_activations_a_mean_and_a_linear_map(activation, kernel_size):
    made = plain(activation=activation, kernel_size=kernel_size, dtype=torch.float64)
    h = pictures(dtype=torch.float64)
    for layer in (made.layer1, made.layer2):
        weight = layer.linear.weight
        assert weight.shape[2:] == (kernel_size, kernel_size)
        h = activation(F.conv2d(h, weight, layer.linear.bias, padding=kernel_size // 2))
        assert h.shape[2:] == (5, 7)
    expected = F.linear(h.mean((2, 3)), made.output.weight, made.output.bias)
    torch.testing.assert_close(made(pictures(dtype=torch.float64)), expected)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("norm", [None, partial(nn.GroupNorm, 2)])
def test_a_residual_one_adds_its_branches(layers, norm):
    made = residual(layers=layers, norm=norm, branch_scale=0.3, dtype=torch.float64)
    normalize = (lambda h: h) if norm is None else partial(F.group_norm, num_groups=2)
    h = made.input(pictures(dtype=torch.float64))
    for block in (made.block1, made.block2):
        added = h
        for layer in block.branch:
            added = F.conv2d(normalize(added).tanh(), layer.linear.weight, layer.linear.bias, padding=1)
        h = h + 0.3 * added
    head = made.output.linear.linear
    expected = F.linear(normalize(h).tanh().mean((2, 3)), head.weight, head.bias)
    torch.testing.assert_close(made(pictures(dtype=torch.float64)), expected)


@both
def test_pictures_of_any_size_give_one_row_of_outputs_each(network):
    for height, width in ((1, 1), (8, 8), (5, 9)):
        assert network(outputs=7)(pictures(3, 2, height, width)).shape == (3, 7)


def test_layers_have_names():
    assert [name for name, _ in plain().named_children()] == ["layer1", "layer2", "mean", "output"]
    assert [name for name, _ in residual().named_children()] == ["input", "block1", "block2", "output"]


def test_a_network_without_biases_has_none():
    assert not [name for name, _ in plain(bias=False).named_parameters() if "bias" in name]
    assert all(not parameter.any() for name, parameter in plain().named_parameters() if "bias" in name)


@both
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, partial(nn.GroupNorm, 2)])
def test_each_norm_is_a_module_of_its_own_over_the_channels(network, norm):
    norms = [module for module in network(norm=norm).modules() if isinstance(module, type(norm(4)))]
    assert [len(module.weight) for module in norms] == ([4, 6] if network is plain else [4] * 5)
    assert len({id(module) for module in norms}) == len(norms)


def test_post_norm_stands_after_each_addition():
    made = residual(norm=nn.InstanceNorm2d, post_norm=True)
    assert sum(isinstance(module, nn.InstanceNorm2d) for module in made.modules()) == 2
    h = made.block1(pictures(3, 4, 5, 7))
    torch.testing.assert_close(h.mean((2, 3)), torch.zeros(3, 4), rtol=0, atol=1e-5)


# Starting as the identity


@pytest.mark.parametrize(
    "kind",
    [{"zero_last": True}, {"fixup": True}, {"branch_scale": 0, "train_scale": True}, {"branch_scale": 0.0}],
    ids=["zero_last", "fixup", "SkipInit", "branch_scale 0"],
)
def test_a_block_whose_branch_starts_at_zero_is_the_identity_to_the_last_bit(kind):
    h = pictures(3, 4, 5, 7)
    for block in residual(**kind)[1:-1]:
        assert torch.equal(block(h), h)


def test_fixup_starts_with_the_loss_of_guessing_and_scaled_branches():
    made, unscaled, data = residual(inputs=1, fixup=True, layers=3), residual(inputs=1, layers=3), digits()
    outputs = made(data.inputs.unflatten(1, (1, 8, 8)))
    assert float(F.cross_entropy(outputs, data.targets).detach()) == pytest.approx(log(10), rel=1e-6)
    for first in (0, 1):
        scaled = unscaled.block2.branch[first].linear.weight * fixup_factor(2, 3)
        torch.testing.assert_close(made.block2.branch[first].linear.weight, scaled)


# Seeds, dtypes, devices


@both
@pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS.keys())
def test_a_seed_means_the_same_network_in_every_dtype(network, initializer):
    exact = network(initializer=initializer, seed=3, dtype=torch.float64).state_dict()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for name, rounded in network(initializer=initializer, seed=3, dtype=dtype).state_dict().items():
            assert rounded.dtype == dtype and torch.equal(rounded, exact[name].to(dtype))


@both
def test_a_seed_means_the_same_network_again_and_the_global_stream_is_left_alone(network):
    state = torch.get_rng_state()
    first = network(seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert same(network(seed=1), first) and not same(network(seed=2), first)


@both
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_seed_means_the_same_network_on_a_gpu(network):
    made = network(device="cuda")
    assert {parameter.device.type for parameter in made.parameters()} == {"cuda"}
    assert same(made.cpu(), network())


@both
def test_an_activation_with_parameters_is_copied_into_each_layer(network):
    activation = nn.PReLU()
    copies = [module for module in network(activation=activation).modules() if isinstance(module, nn.PReLU)]
    assert len({id(module) for module in [activation, *copies]}) == 1 + (2 if network is plain else 5)


# Bad input


@pytest.mark.parametrize("channels", [[], [3], 3, "34", None, {3, 4}])
def test_fewer_than_two_numbers_of_channels_are_refused(channels):
    with pytest.raises(ValueError, match="channels=.*\nexpected at least two"):
        plain(channels=channels)


@pytest.mark.parametrize("bad", [0, -1, 2.0, True, "4", None])
@pytest.mark.parametrize("size", ["channels", "blocks", "inputs", "outputs", "layers"])
def test_a_size_that_is_no_positive_whole_number_is_named(size, bad):
    with pytest.raises(ValueError, match=f"{size}=.*\nexpected a whole number of at least 1"):
        residual(**{size: bad})


def test_the_channels_of_a_plain_one_are_named_one_by_one():
    with pytest.raises(ValueError, match=r"channels\[1\]=0.*\nexpected a whole number"):
        plain(channels=[1, 0])


@both
@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"kernel_size": 2}, ValueError, "kernel_size=2"),
        ({"kernel_size": 0}, ValueError, "kernel_size=0"),
        ({"kernel_size": -3}, ValueError, "kernel_size=-3"),
        ({"kernel_size": 1.5}, ValueError, "kernel_size=1.5"),
        ({"outputs": 0}, ValueError, "outputs=0"),
        ({"dtype": torch.int64}, ValueError, "dtype=torch.int64"),
        ({"device": "nowhere"}, ValueError, "device='nowhere'"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"activation": nn.Softmax(1)}, ValueError, "(?s)activation.*elementwise"),
        ({"activation": "tanh"}, TypeError, "activation='tanh'"),
        ({"initializer": None}, TypeError, "initializer=None"),
        ({"norm": lambda channels: None}, TypeError, r"norm\(4\) returned NoneType"),
    ],
)
def test_what_cannot_be_is_refused(network, changes, error, says):
    with pytest.raises(error, match=says) as refused:
        network(**changes)
    assert "\nexpected" in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"post_norm": True},
        {"fixup": True, "norm": nn.BatchNorm2d},
        {"fixup": True, "layers": 1},
        {"branch_scale": 1e999},
    ],
)
def test_what_does_not_go_together_is_refused(changes):
    with pytest.raises(ValueError, match="\nexpected"):
        residual(**changes)


@truth("fan.padding.H8", "fan.padding.H224")
def test_zero_padding_leaves_the_border_the_share_of_terms_of_the_reference_table(row):
    side = row["inputs"]["H"]
    (layer, *_) = convnet([1, 1], torch.relu, initializer=he_normal_, dtype=torch.float64)
    nn.init.ones_(layer.linear.weight)
    terms = layer.linear(torch.ones(1, 1, side, side, dtype=torch.float64))
    assert float(terms.detach().mean() / 9) == pytest.approx(row["value"], rel=row["tolerance"]["rel"])
