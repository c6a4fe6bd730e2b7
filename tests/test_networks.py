"""A network is its widths, its activation and its seed, whatever the dtype and whoever else draws numbers."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from d2lstab import ACTIVATIONS, INITIALIZERS, he_normal_, mlp, seeded
from d2lstab.networks import Layer
from d2lstab.randomness import normal

WIDTHS = [5, 4, 3]


def network(**changes) -> nn.Sequential:
    return mlp(**{"widths": WIDTHS, "activation": torch.tanh, "initializer": he_normal_, **changes})


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


# What it computes


def test_a_layer_is_the_activation_of_a_linear_map():
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        linear.bias.copy_(torch.tensor([-10.0, 1.0]))
    assert Layer(linear, torch.relu)(torch.tensor([1.0, 1.0])).tolist() == [0, 8]


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_every_catalogued_activation_stands_between_linear_maps_and_not_after_the_last(activation):
    made = network(activation=activation, dtype=torch.float64)
    x = normal(7, 5, generator=seeded(0), dtype=torch.float64)
    hidden = activation(x @ made.layer1.linear.weight.T)
    torch.testing.assert_close(made(x), hidden @ made.output.weight.T)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.booleans())
def test_the_weights_have_the_widths_asked_for(widths, bias):
    made = network(widths=widths, bias=bias)
    weights = [parameter.shape for name, parameter in made.named_parameters() if name.endswith("weight")]
    assert weights == [(fan_out, fan_in) for fan_in, fan_out in pairwise(widths)]
    biases = [parameter for name, parameter in made.named_parameters() if name.endswith("bias")]
    assert len(biases) == bias * len(weights)
    assert all(not parameter.any() for parameter in biases)
    assert made(torch.zeros(3, 2, widths[0])).shape == (3, 2, widths[-1])
    assert all(parameter.requires_grad for parameter in made.parameters())


def test_two_widths_are_a_linear_map():
    assert [type(layer) for layer in network(widths=(3, 2))] == [nn.Linear]


def test_layers_have_names_and_widths_may_come_as_any_sequence():
    assert [name for name, _ in network(widths=[4] * 4).named_children()] == ["layer1", "layer2", "output"]
    for widths in ((5, 4, 3), torch.Size([5, 4, 3]), range(5, 2, -1)):
        assert same(network(widths=widths), network())


# A seed


@pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS.keys())
def test_a_seed_means_the_same_network_in_every_dtype(initializer):
    exact = network(initializer=initializer, seed=3, dtype=torch.float64).state_dict()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for name, rounded in network(initializer=initializer, seed=3, dtype=dtype).state_dict().items():
            assert rounded.dtype == dtype
            assert torch.equal(rounded, exact[name].to(dtype))


def test_a_seed_means_the_same_network_again_and_another_seed_another_one():
    assert same(network(seed=1), network(seed=1))
    assert not same(network(seed=1), network(seed=2))


def test_the_global_stream_is_neither_read_nor_moved():
    torch_state = torch.get_rng_state()
    first = network()
    assert torch.equal(torch_state, torch.get_rng_state())
    with torch.random.fork_rng():
        torch.manual_seed(123)
        assert same(network(), first)


def test_none_is_torchs_default_dtype():
    assert network().output.weight.dtype == torch.get_default_dtype()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_seed_means_the_same_network_on_a_gpu():
    made = network(device="cuda")
    assert made.output.weight.device.type == "cuda"
    assert same(made.cpu(), network())


# An activation that is a module


def test_an_activation_with_parameters_is_copied_into_each_layer_and_left_alone():
    activation = nn.PReLU(init=0.3)
    made = network(widths=[4] * 4, activation=activation, dtype=torch.float64)
    copies = [layer.activation for layer in made[:-1]]
    assert len({id(module) for module in [activation, *copies]}) == 3
    assert [module.weight.dtype for module in [activation, *copies]] == [torch.float32] + [torch.float64] * 2
    assert all(float(module.weight.detach()) == pytest.approx(0.3) for module in copies)


# What it shows


def test_the_repr_names_the_widths_and_the_activation_and_no_address():
    slanted = partial(F.leaky_relu, negative_slope=0.2)
    for activation, text in [
        (torch.tanh, "activation=tanh"),
        (slanted, "activation=leaky_relu(negative_slope=0.2)"),
        (partial(torch.clamp, min=0), "activation=clamp(min=0)"),
        (nn.PReLU(), "(activation): PReLU(num_parameters=1)"),
        (lambda z: 2 * z, "activation=<lambda>"),
    ]:
        shown = repr(network(activation=activation))
        assert text in shown
        assert "in_features=5, out_features=4" in shown
        assert shown.count("activation") == 1
        assert "0x" not in shown


# Bad input


@pytest.mark.parametrize("widths", [[], [3], 3, "34", None, {3, 4}])
def test_fewer_than_two_widths_are_refused(widths):
    with pytest.raises(ValueError, match="widths=.*\nexpected at least two"):
        network(widths=widths)


@pytest.mark.parametrize("bad", [0, -1, 2.0, 2.5, True, "4", None])
def test_a_width_that_is_no_positive_whole_number_is_named(bad):
    with pytest.raises(ValueError, match=r"widths\[1\]=.*\nexpected a whole number of at least 1"):
        network(widths=[5, bad, 3])


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, "float32", float])
def test_a_dtype_that_is_not_floating_is_refused(dtype):
    with pytest.raises(ValueError, match="dtype=.*\nexpected a floating torch.dtype"):
        network(dtype=dtype)


@pytest.mark.parametrize("device", ["cuda:99", "nowhere", 99])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match="device=.*\nexpected one of cpu"):
        network(device=device)


@pytest.mark.parametrize("seed", [-1, 1.5, None])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(ValueError, match="seed=.*\nexpected a whole number"):
        network(seed=seed)


@pytest.mark.parametrize("activation", [nn.Softmax(-1), nn.LayerNorm(3), nn.Dropout(0.5), torch.sum])
def test_an_activation_that_is_not_elementwise_is_refused(activation):
    with pytest.raises(ValueError, match="(?s)activation.*\nexpected an elementwise"):
        network(activation=activation)


@pytest.mark.parametrize("activation", ["tanh", None, nn.ReLU])
def test_an_activation_that_is_no_function_of_a_tensor_is_refused(activation):
    with pytest.raises(TypeError, match="(?s)activation.*\nexpected"):
        network(activation=activation)


@pytest.mark.parametrize(
    ("initializer", "error", "says"),
    [
        (lambda weight, *, generator: None, TypeError, "returned NoneType"),
        (lambda weight, *, generator: weight.flatten(), ValueError, r"returned shape \(20,\)"),
        ("He", TypeError, "initializer='He'"),
        (None, TypeError, "initializer=None"),
    ],
)
def test_an_initializer_that_breaks_its_contract_is_named(initializer, error, says):
    with pytest.raises(error, match=f"(?s){says}.*\nexpected"):
        network(initializer=initializer)


# Normalization


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm, partial(nn.GroupNorm, 2)])
def test_a_norm_of_its_own_stands_between_each_linear_map_and_its_activation(norm):
    made = network(widths=[5, 4, 6, 3], norm=norm, dtype=torch.float64)
    h = normal(7, 5, generator=seeded(0), dtype=torch.float64)
    norms = [layer.norm for layer in made[:-1]]
    assert [len(module.weight) for module in norms] == [4, 6] and norms[0] is not norms[1]
    expected = h
    for layer, width in zip(made[:-1], (4, 6)):
        expected = norm(width).double()(layer.linear(expected)).tanh()
    torch.testing.assert_close(made(h), made.output(expected))


def test_a_norm_changes_no_weight_that_a_seed_draws():
    plain, normed = network().state_dict(), network(norm=nn.LayerNorm).state_dict()
    assert all(torch.equal(value, normed[name]) for name, value in plain.items())
    assert network().layer1.norm is None


def test_a_norm_follows_dtype_and_seed_and_leaves_the_global_stream_alone():
    state = torch.get_rng_state()
    made = network(norm=nn.BatchNorm1d, dtype=torch.float64)
    assert made.layer1.norm.weight.dtype == made.layer1.norm.running_mean.dtype == torch.float64
    assert same(made, network(norm=nn.BatchNorm1d, dtype=torch.float64))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("norm", [lambda width: None, lambda width: width, lambda width: nn.LayerNorm])
def test_a_norm_that_returns_no_module_is_refused(norm):
    with pytest.raises(TypeError, match=r"norm\(4\) returned .*\nexpected a function of the width"):
        network(norm=norm)


def test_a_network_has_biases_unless_it_is_told_not_to():
    for options, expected in (({}, 2), ({"bias": True}, 2), ({"bias": False}, 0)):
        names = [name for name, _ in mlp([4, 3, 2], torch.relu, initializer=he_normal_, **options).named_parameters()]
        assert sum("bias" in name for name in names) == expected
