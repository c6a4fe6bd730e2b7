"""A residual network is the blocks it says it is: the identity where asked for, and of the sizes that theory gives."""

from functools import partial
from math import e, sqrt

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import ACTIVATIONS, INITIALIZERS, digits, he_normal_, residual_mlp, seeded
from d2lstab.initializers import fixup_factor
from d2lstab.networks import Block, PreActivation, Scale
from d2lstab.randomness import normal
from tests.truth import truth

pytestmark = pytest.mark.slow


def network(**changes) -> nn.Sequential:
    settings = {"width": 6, "blocks": 3, "activation": torch.tanh, "initializer": he_normal_, "inputs": 5, "outputs": 4}
    return residual_mlp(**{**settings, **changes})


def signals(*shape: int, **kinds) -> torch.Tensor:
    return normal(*shape, generator=seeded(0), **kinds)


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


AS_IDENTITY = {
    "zero_last": {"zero_last": True},
    "fixup": {"fixup": True},
    "SkipInit": {"branch_scale": 0, "train_scale": True},
    "branch_scale 0": {"branch_scale": 0.0},
    "zero_last with norm": {"zero_last": True, "norm": nn.LayerNorm},
    "one layer": {"zero_last": True, "layers": 1},
    "three layers": {"fixup": True, "layers": 3},
}
identities = pytest.mark.parametrize("kind", AS_IDENTITY.values(), ids=AS_IDENTITY.keys())


# What it computes


def test_by_hand_a_block_adds_its_scaled_branch():
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        linear.bias.copy_(torch.tensor([0.0, 1.0]))
    branch = PreActivation(torch.relu, linear)
    h = torch.tensor([[1.0, -1.0]])
    assert branch(h).tolist() == [[1, 4]]  # of (1, 0)
    assert Block(branch)(h).tolist() == [[2, 3]]
    assert Block(branch, Scale(0.5))(h).tolist() == [[1.5, 1]]
    assert Block(branch, Scale(0.5), nn.ReLU())(-h).tolist() == [[0, 3.5]]  # (−1, 1) + (2, 5) / 2, then N


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_every_catalogued_activation_stands_before_each_linear_map_but_the_first(activation, layers):
    made = network(activation=activation, layers=layers, branch_scale=0.3, dtype=torch.float64)
    x = signals(7, 5, dtype=torch.float64)
    h = made.input(x)
    for block in made[1:-1]:
        added = h
        for layer in block.branch:
            added = F.linear(activation(added), layer.linear.weight, layer.linear.bias)
        h = h + 0.3 * added
    torch.testing.assert_close(made(x), made.output.linear(activation(h)))


def test_it_has_two_linear_maps_more_than_its_branches_and_names_for_all():
    made = network(blocks=4, layers=3)
    assert [name for name, _ in made.named_children()] == ["input", *(f"block{i}" for i in range(1, 5)), "output"]
    shapes = [tuple(module.weight.shape) for module in made.modules() if isinstance(module, nn.Linear)]
    assert shapes == [(6, 5)] + 12 * [(6, 6)] + [(4, 6)]
    assert made(torch.zeros(2, 3, 5)).shape == (2, 3, 4)
    biases = [parameter for name, parameter in made.named_parameters() if name.endswith("bias")]
    assert len(biases) == 14 and not any(bias.any() for bias in biases)


# Normalization


def test_norm_stands_before_each_activation():
    made = network(norm=nn.LayerNorm, dtype=torch.float64)
    assert sum(isinstance(module, nn.LayerNorm) for module in made.modules()) == 3 * 2 + 1
    h = signals(7, 6, dtype=torch.float64)
    first, second = made.block1.branch
    expected = h + second.linear(F.layer_norm(first.linear(F.layer_norm(h, (6,)).tanh()), (6,)).tanh())
    torch.testing.assert_close(made.block1(h), expected)
    torch.testing.assert_close(made.output(h), made.output.linear(F.layer_norm(h, (6,)).tanh()))


def test_post_norm_stands_after_each_addition_and_nowhere_else():
    made = network(norm=nn.LayerNorm, post_norm=True, dtype=torch.float64)
    assert sum(isinstance(module, nn.LayerNorm) for module in made.modules()) == 3
    h = signals(7, 6, dtype=torch.float64)
    first, second = made.block1.branch
    expected = F.layer_norm(h + second.linear(first.linear(h.tanh()).tanh()), (6,))
    torch.testing.assert_close(made.block1(h), expected)
    torch.testing.assert_close(made.output(h), made.output.linear(h.tanh()))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm, partial(nn.GroupNorm, 2)])
@pytest.mark.parametrize("post_norm", [False, True])
def test_each_norm_is_a_module_of_its_own_with_the_width(norm, post_norm):
    made = network(norm=norm, post_norm=post_norm)
    norms = [module for module in made.modules() if isinstance(module, type(norm(6)))]
    assert len({id(module) for module in norms}) == (3 if post_norm else 7)
    assert all(module.weight.shape == (6,) for module in norms)
    assert made(signals(8, 5)).shape == (8, 4)


# Starting as the identity


@identities
def test_a_block_whose_branch_starts_at_zero_is_the_identity_to_the_last_bit(kind):
    made, h = network(**kind), signals(7, 6)
    for block in made[1:-1]:
        assert torch.equal(block(h), h)


def test_post_norm_leaves_no_identity():
    made, h = network(norm=nn.LayerNorm, post_norm=True, zero_last=True, dtype=torch.float64), signals(7, 6).double()
    torch.testing.assert_close(made.block1(h), F.layer_norm(h, (6,)))


@truth("fixup.init_identity")
def test_fixup_starts_with_the_loss_of_guessing(row):
    for classes in row["inputs"]["K"]:
        made = network(inputs=64, outputs=classes, fixup=True, dtype=torch.float64)
        data = digits(dtype=torch.float64)
        outputs = made(data.inputs).detach()
        assert not outputs.any()
        assert float(F.cross_entropy(outputs, data.targets)) == pytest.approx(row["value"][str(classes)], rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ({"zero_last": True}, {"input", "branch.1", "output"}),
        ({"branch_scale": 0, "train_scale": True}, {"input", "scale", "output"}),
        ({"fixup": True}, {"output"}),
        ({"zero_last": True, "branch_scale": 0, "train_scale": True}, {"input", "output"}),  # they wait for each other
    ],
    ids=["zero_last", "SkipInit", "fixup", "both"],
)
def test_in_the_first_step_only_what_no_zero_hides_has_a_gradient(kind, first):
    made = network(activation=torch.relu, inputs=64, width=32, outputs=10, **kind)
    data = digits()
    F.cross_entropy(made(data.inputs), data.targets).backward()
    moving = {name for name, parameter in made.named_parameters() if parameter.grad.any()}
    expected = {name for name, _ in made.named_parameters() if any(part in name for part in first)}
    if "branch.1" in first:  # behind two zero-mean layers the last bias has one all the same
        expected |= {name for name, _ in made.named_parameters() if "branch.1.linear.bias" in name}
    if "zero_last" in kind and "train_scale" in kind:
        expected = {name for name in expected if "block" not in name}
    assert moving == expected


def test_a_trained_factor_is_a_parameter_and_a_fixed_one_is_not():
    trained, fixed = network(branch_scale=0.3, train_scale=True), network(branch_scale=0.3)
    scales = {name for name, _ in trained.named_parameters()} - {name for name, _ in fixed.named_parameters()}
    assert scales == {f"block{index}.scale.factor" for index in (1, 2, 3)}
    x = signals(7, 5)
    torch.testing.assert_close(trained(x), fixed(x))
    assert network().block1.scale is None


# Fixup's factors


@truth("fixup.L10.m2", "fixup.L50.m3")
def test_fixups_factors_are_those_of_the_reference_table(row):
    blocks, layers = row["inputs"]["L"], row["inputs"]["m"]
    assert fixup_factor(blocks, layers) == pytest.approx(row["value"], rel=1e-12)


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_a_branch_of_scaled_layers_has_the_scale_of_one_over_root_of_the_blocks(layers):
    assert fixup_factor(64, layers) ** (layers - 1) == pytest.approx(1 / 8, rel=1e-12)
    plain, scaled = network(layers=layers), network(layers=layers, fixup=True)
    for block, other in zip(plain[1:-1], scaled[1:-1]):
        *first, last = zip(block.branch, other.branch)
        for before, after in first:
            torch.testing.assert_close(after.linear.weight, before.linear.weight * fixup_factor(3, layers))
        assert not last[1].linear.weight.any()
    assert torch.equal(plain.input.weight, scaled.input.weight)


# Second moments


def growth(blocks: int, seeds: int, branch_scale: float = 1.0) -> torch.Tensor:
    """|h_L|² / |h_0|² of as many networks, without what the input and the output do."""
    half = signals(1, 32, dtype=torch.float64)
    h = torch.cat([half, -half], 1)  # ReLU keeps exactly half of what is symmetric
    settings = {"width": 64, "inputs": 1, "outputs": 1, "initializer": he_normal_, "dtype": torch.float64}
    ratios = []
    for seed in range(seeds):
        made = residual_mlp(blocks=blocks, activation=torch.relu, branch_scale=branch_scale, seed=seed, **settings)
        with torch.no_grad():
            ratios.append(made[1:-1](h).square().sum() / h.square().sum())
    return torch.stack(ratios)


@pytest.mark.parametrize("blocks", ["1", "10"])
@truth("res.plain")
def test_plain_blocks_double_the_second_moment_each(row, blocks):
    seeds = {"1": 200, "10": 200}[blocks]
    ratios, expected = growth(int(blocks), seeds), row["value"][blocks]
    within = 4 * float(ratios.std()) / sqrt(seeds)
    assert within < 0.3 * expected  # so that a factor of 1 or 3 per block would be seen
    assert float(ratios.mean()) == pytest.approx(expected, abs=within)


@truth("res.scaled.L1", "res.scaled.L100")
def test_branches_over_root_l_multiply_the_second_moment_by_less_than_e(row):
    blocks, seeds = row["inputs"]["L"], {1: 200, 100: 24}[row["inputs"]["L"]]
    ratios, expected = growth(blocks, seeds, blocks**-0.5), row["value"]
    within = 4 * float(ratios.std()) / sqrt(seeds)
    assert expected == pytest.approx((1 + 1 / blocks) ** blocks) and expected < e
    assert within < 0.3 * expected
    assert float(ratios.mean()) == pytest.approx(expected, abs=within)


# Seeds, dtypes, devices


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


def test_what_a_seed_draws_does_not_depend_on_how_blocks_start():
    drawn = network().state_dict()
    for kind in ({"branch_scale": 0.1}, {"branch_scale": 0, "train_scale": True}, {"norm": nn.LayerNorm}):
        other = network(**kind).state_dict()
        assert all(torch.equal(value, other[name]) for name, value in drawn.items())
    kept = network(zero_last=True).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in drawn.items() if "branch.1.linear.weight" not in name)


def test_the_global_stream_is_neither_read_nor_moved():
    state = torch.get_rng_state()
    first = network(train_scale=True, norm=nn.BatchNorm1d)
    assert torch.equal(state, torch.get_rng_state())
    with torch.random.fork_rng():
        torch.manual_seed(123)
        assert same(network(train_scale=True, norm=nn.BatchNorm1d), first)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_seed_means_the_same_network_on_a_gpu():
    made = network(device="cuda", train_scale=True, norm=nn.BatchNorm1d)
    assert {parameter.device.type for parameter in made.parameters()} == {"cuda"}
    assert same(made.cpu(), network(train_scale=True, norm=nn.BatchNorm1d))


def test_an_activation_with_parameters_is_copied_into_each_layer_and_left_alone():
    activation = nn.PReLU(init=0.3)
    made = network(activation=activation, dtype=torch.float64)
    copies = [module for module in made.modules() if isinstance(module, nn.PReLU)]
    assert len({id(module) for module in [activation, *copies]}) == 1 + 3 * 2 + 1
    assert activation.weight.dtype == torch.float32


def test_the_repr_names_the_activation_and_the_factor_and_no_address():
    shown = repr(network(branch_scale=0.125, train_scale=True))
    assert "activation=tanh" in shown and "factor=0.125, trained" in shown and "0x" not in shown
    assert "factor=0.5\n" in repr(network(branch_scale=0.5)) or "factor=0.5)" in repr(network(branch_scale=0.5))


# Bad input


@pytest.mark.parametrize("size", ["width", "blocks", "inputs", "outputs", "layers"])
@pytest.mark.parametrize("bad", [0, -1, 2.0, True, "4", None])
def test_a_size_that_is_no_positive_whole_number_is_named(size, bad):
    with pytest.raises(ValueError, match=f"{size}=.*\nexpected a whole number of at least 1"):
        network(**{size: bad})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"post_norm": True}, "post_norm=True without norm"),
        ({"fixup": True, "norm": nn.LayerNorm}, "fixup=True with norm="),
        ({"fixup": True, "layers": 1}, "layers=1 .*\nexpected a whole number of at least 2"),
        ({"branch_scale": float("nan")}, "branch_scale=nan"),
        ({"branch_scale": float("inf")}, "branch_scale=inf"),
        ({"branch_scale": -float("inf")}, "branch_scale=-inf"),
        ({"dtype": torch.int64}, "dtype=torch.int64"),
        ({"device": "nowhere"}, "device='nowhere'"),
        ({"seed": -1}, "seed=-1"),
        ({"activation": nn.Softmax(-1)}, "(?s)activation.*elementwise"),
    ],
)
def test_what_cannot_be_is_refused(changes, says):
    with pytest.raises(ValueError, match=f"{says}") as error:
        network(**changes)
    assert "\nexpected" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"norm": lambda width: None}, r"norm\(6\) returned NoneType"),
        ({"norm": lambda width: width, "post_norm": True}, r"norm\(6\) returned int"),
        ({"activation": "tanh"}, "activation='tanh'"),
        ({"initializer": "He"}, "initializer='He'"),
        ({"branch_scale": "1"}, "branch_scale='1'"),
        ({"branch_scale": None}, "branch_scale=None"),
    ],
)
def test_what_is_of_the_wrong_kind_is_named(changes, says):
    with pytest.raises(TypeError, match=f"{says}") as error:
        network(**changes)
    assert "\nexpected" in str(error.value)


@pytest.mark.parametrize(("blocks", "layers"), [(0, 2), (-1, 2), (2.5, 2), (4, 1), (4, 0), (4, None)])
def test_fixups_factor_refuses_what_is_no_number_of_blocks_or_layers(blocks, layers):
    with pytest.raises(ValueError, match="(blocks|layers)=.*\nexpected a whole number of at least"):
        fixup_factor(blocks, layers)
