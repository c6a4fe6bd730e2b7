"""What a step changes in a layer's output: closed forms, laws, and models that are strangers."""

from collections import UserDict
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F

from d2lstab import coordinate_check, digits, lecun_normal_, mlp, residual_mlp, seeded
from d2lstab.networks import transformer
from d2lstab.randomness import normal
from experiments import widths as experiment
from experiments.stored import load

F64 = torch.float64
SGD, ADAM = partial(torch.optim.SGD, lr=0.1), partial(torch.optim.Adam, lr=1e-3, eps=1e-30)


def linear(width: int, seed: int) -> nn.Module:
    return nn.Linear(width, 3, bias=False, dtype=F64)


class Widened(nn.Module):
    """A linear layer that is given the first entries of its input."""

    def __init__(self, width: int, seed: int):
        super().__init__()
        self.width, self.read = width, linear(width, seed)

    def forward(self, x):
        return self.read(x[:, : self.width])


def product(outputs, targets):
    return (outputs * targets).sum()


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return normal(*shape, generator=seeded(seed), dtype=F64)


def test_one_step_of_sgd_changes_a_linear_layer_by_its_rate_and_the_square_of_its_input():
    x, t = draw(1, 8), draw(1, 3, seed=1)
    found = coordinate_check(Widened, x, t, widths=[4, 8], optimizer=SGD, loss=product, steps=1)
    for column, width in enumerate((4, 8)):
        expected = 0.1 * t.square().mean().sqrt() * x[0, :width].square().sum()
        torch.testing.assert_close(found["read"][:, 0, column], expected.expand(8))


def test_one_step_of_adam_changes_it_by_its_rate_and_the_sum_of_sizes():
    x, t = draw(1, 8), draw(1, 3, seed=1)
    found = coordinate_check(Widened, x, t, widths=[4, 8], optimizer=ADAM, loss=product, steps=1)
    for column, width in enumerate((4, 8)):
        torch.testing.assert_close(found["read"][:, 0, column], (1e-3 * x[0, :width].abs().sum()).expand(8))


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 5), seed=st.integers(0, 1000))
def test_of_any_batch_the_first_step_of_adam_is_a_sign(batch, seed):
    x, t = draw(batch, 8, seed=seed), draw(batch, 3, seed=seed + 1)
    found = coordinate_check(Widened, x, t, widths=[4, 8], optimizer=ADAM, loss=product, steps=1, seeds=[seed])
    expected = 1e-3 * (x @ (t.T @ x).sign().T).square().mean().sqrt()
    torch.testing.assert_close(found["read"][0, 0, 1], expected)


def test_growth_is_the_slope_between_logarithms():
    ones, t = torch.ones(1, 32, dtype=F64), draw(1, 3)
    found = coordinate_check(Widened, ones, t, widths=[4, 8, 32], optimizer=ADAM, loss=product, steps=2)
    assert found.growth.shape == (8, 1, 2)
    torch.testing.assert_close(found.growth[..., 0], torch.ones(8, 1, dtype=F64))


def test_without_a_rate_nothing_changes_though_the_model_draws_masks():
    def noisy(width, seed):
        return nn.Sequential(nn.Linear(6, width), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(width, 3))

    x = draw(4, 6).float()
    still = coordinate_check(noisy, x, torch.arange(4) % 3, widths=[4, 8], optimizer=partial(torch.optim.SGD, lr=0.0))
    assert still.layers == ("0", "1", "2", "3")
    assert (still.change == 0).all()
    moving = coordinate_check(noisy, x, torch.arange(4) % 3, widths=[4, 8], optimizer=SGD)
    assert (moving.change > 0).all()


def network(width: int, seed: int) -> nn.Module:
    return mlp([6, width, width, 3], torch.tanh, initializer=lecun_normal_, seed=seed)


CHECK = partial(coordinate_check, network, draw(5, 6).float(), torch.arange(5) % 3, optimizer=SGD)


def test_a_width_and_a_seed_mean_the_same_alone_or_in_company():
    together, alone = CHECK(widths=[4, 8, 16], seeds=[0, 1, 2]), CHECK(widths=[16, 4], seeds=[2])
    torch.testing.assert_close(together.change[2:, :, :, [2, 0]], alone.change)


def test_the_last_change_is_that_of_a_loop_by_hand():
    found = CHECK(widths=[4, 8], seeds=[3], steps=4)
    net, x = network(8, 3), draw(5, 6).float()
    updates, before = SGD(net.parameters()), net(x)
    for _ in range(4):
        updates.zero_grad()
        F.cross_entropy(net(x), torch.arange(5) % 3).backward()
        updates.step()
    torch.testing.assert_close(found["output"][0, -1, 1], (net(x) - before).square().mean().sqrt().double())


def growth(kind: str, parts: int = 0, **sizes) -> torch.Tensor:
    """The growth of each layer's change in the first step, median over seeds. parts: parameters that stay, at least."""
    data, mup = digits(), kind == "muP"
    found = coordinate_check(
        partial(experiment.network, small_output=mup),
        data.inputs[:64],
        data.targets[:64],
        optimizer=lambda parameters: experiment.adam(parameters[parts:], 1e-4, by_fan_in=mup),
        steps=1,
        **{"widths": [64, 128, 256], "seeds": range(8)} | sizes,
    )
    return found.growth[..., 0].median(0).values


def test_in_the_standard_parametrization_changes_grow_with_the_width_and_in_mup_none_does():
    first, *hidden, output = growth("standard").tolist()
    assert abs(first) < 0.15 and min(hidden) > 0.4 and 0.8 < output < 1.3
    assert growth("muP").max() < 0.1


def test_where_the_first_layer_stays_the_next_one_changes_nearly_as_the_width():
    """What it inherits from the first layer does not grow, and hides the power at these widths."""
    assert 0.8 < growth("standard", parts=2)[1] < 1.1
    assert abs(growth("muP", parts=2)[1]) < 0.2


def test_at_the_base_width_the_two_parametrizations_are_one():
    nets = [experiment.network(experiment.BASE, 0, small_output=small) for small in (False, True)]
    assert all(torch.equal(one, other) for one, other in zip(nets[0].parameters(), nets[1].parameters()))
    rates = [
        [group["lr"] for group in experiment.adam(nets[0].parameters(), 0.1, by_fan_in=by).param_groups]
        for by in (False, True)
    ]
    assert rates[0] == rates[1]


@pytest.mark.parametrize("shape", [(40, 40), (20, 60), (60, 20)])
def test_a_matrix_is_made_nearly_orthogonal_with_the_singular_vectors_it_has(shape):
    left, _, right = torch.linalg.svd(draw(*shape), full_matrices=False)
    size = torch.linspace(0.05, 1, min(shape), dtype=F64)
    made = left.T @ experiment.orthogonalized(left * size @ right) @ right.T
    torch.testing.assert_close(made, made.diag().diag(), atol=1e-9, rtol=0)
    assert made.diag().min() > 0.6 and made.diag().max() < 1.25


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_three_steps_of_muon_are_torchs_but_for_the_half_precision_of_its_products():
    ours, theirs = (nn.Parameter(draw(30, 30).float()) for _ in range(2))
    both = experiment.Muon([ours], lr=0.1), torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0)
    for seed in range(3):
        ours.grad = theirs.grad = draw(30, 30, seed=10 + seed).float()
        [each.step() for each in both]
    moved = theirs - draw(30, 30).float()
    assert (ours - theirs).norm() < 0.02 * moved.norm()


def test_a_step_of_muon_changes_no_layer_by_more_where_it_is_wider():
    data = digits()
    found = coordinate_check(
        partial(experiment.network, small_output=True),
        data.inputs[:64],
        data.targets[:64],
        widths=experiment.WIDTHS,
        optimizer=partial(experiment.Muon, lr=0.001),
        steps=1,
        seeds=range(4),
    )
    assert found.growth.median(0).values.max() < 0.15  # Adam's hidden layers: above 0.4
    size = data.inputs[:64].square().mean().sqrt()
    assert (found["layer1.linear"] <= 1.25 * 0.001 * size).all()


@pytest.mark.slow
def test_the_best_rate_falls_with_the_width_in_the_standard_parametrization_and_stays_in_mup():
    """What is stored, which the chapter draws."""
    loss = experiment.loss_of(load("widths")["rows"])
    best = {kind: found.median(-1).values.argmin(-1) for kind, found in loss.items()}
    rates = {kind: torch.tensor(experiment.RATES)[index] for kind, index in best.items()}
    assert rates["standard"][0] >= 4 * rates["standard"][-1]
    assert rates["muP"].max() <= 2.1 * rates["muP"].min()


@pytest.mark.slow
@pytest.mark.long
def test_what_is_stored_of_the_widths_comes_again():
    stored = torch.tensor(load("widths")["rows"]["muP, 128"]).median(-1).values
    again = torch.tensor(experiment.row("muP, 128")).median(-1).values
    torch.testing.assert_close(again, stored, atol=0.02, rtol=0.15)


# Strangers


def test_the_models_and_the_streams_are_as_they_were():
    kept = nn.Linear(6, 3)
    before = {name: value.clone() for name, value in kept.state_dict().items()}
    parameters, hooks, stream = dict(kept.named_parameters()), dict(kept._forward_hooks), torch.get_rng_state()
    x, y = draw(5, 6).float(), torch.arange(5) % 3
    first = x.clone()
    with torch.no_grad():
        found = coordinate_check(lambda width, seed: kept, x, y, widths=[4, 8], optimizer=SGD)
    assert (found.change > 0).all()  # in copies
    assert all(torch.equal(before[name], value) for name, value in kept.state_dict().items())
    assert all(parameters[name] is value and value.grad is None for name, value in kept.named_parameters())
    assert dict(kept._forward_hooks) == hooks and torch.equal(torch.get_rng_state(), stream) and torch.equal(first, x)


def test_a_stranger_draws_its_weights_from_the_seeded_stream():
    def stranger(width, seed):
        return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))

    check = partial(coordinate_check, stranger, draw(5, 6).float(), torch.arange(5) % 3, optimizer=SGD)
    one, again = (check(widths=[4, 8], seeds=[0, 1]).change for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(one[0], one[1])


@pytest.mark.parametrize("pack", [lambda x: x, lambda x: (x, None), lambda x: {"x": x}, lambda x: UserDict(x=x)])
def test_inputs_come_as_the_model_takes_them(pack):
    class Masked(nn.Module):
        def __init__(self, width, seed):
            super().__init__()
            self.inner = network(width, seed)

        def forward(self, x, mask=None):
            return {"logits": self.inner(x)}

    found = coordinate_check(
        Masked,
        pack(draw(5, 6).float()),
        torch.arange(5) % 3,
        widths=[4, 8],
        optimizer=SGD,
        loss=lambda outputs, targets: F.cross_entropy(outputs["logits"], targets),
    )
    torch.testing.assert_close(found["inner.output"], CHECK(widths=[4, 8])["output"])


def test_a_layer_called_twice_has_two_names():
    class Twice(nn.Module):
        def __init__(self, width, seed):
            super().__init__()
            self.first, self.again = nn.Linear(6, width), nn.Linear(width, width)

        def forward(self, x):
            return self.again(self.again(self.first(x)).relu())

    found = coordinate_check(Twice, draw(5, 6).float(), torch.arange(5) % 3, widths=[4, 8], optimizer=SGD)
    assert found.layers == ("first", "again", "again#2")


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm])
def test_a_normalized_residual_network_can_be_checked(norm):
    def residual(width, seed):
        return residual_mlp(width, 2, torch.relu, initializer=lecun_normal_, inputs=6, outputs=3, norm=norm, seed=seed)

    found = coordinate_check(residual, draw(5, 6).float(), torch.arange(5) % 3, widths=[8, 16], optimizer=ADAM)
    assert found.change.isfinite().all() and found.change.shape[2:] == (3, 2)


def test_kinds_choose_the_layers_of_a_transformer():
    def small(width, seed):
        return transformer(5, width, 1, length=4, initializer=lecun_normal_, seed=seed)

    tokens = torch.arange(8).view(2, 4) % 5
    found = coordinate_check(
        small,
        tokens,
        tokens,
        widths=[8, 16],
        optimizer=ADAM,
        loss=lambda outputs, targets: F.cross_entropy(outputs.flatten(0, 1), targets.flatten()),
        kinds=nn.LayerNorm,
    )
    assert len(found.layers) == 3


# The picture, and what is refused


@pytest.mark.parametrize("depth", [2, 30])
def test_the_picture_has_a_line_for_each_layer_and_names_a_dozen_at_most(depth):
    def deep(width, seed):
        return mlp([6] + depth * [width] + [3], torch.tanh, initializer=lecun_normal_, seed=seed)

    found = coordinate_check(deep, draw(5, 6).float(), torch.arange(5) % 3, widths=[4, 8], optimizer=SGD, steps=1)
    ax = found.plot()
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(ax.lines) == depth + 1 and len(named) <= 12 and named[0] == found.layers[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "8"]
    plt.close("all")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"widths": [8]}, ValueError, r"widths=\[8\]\nexpected at least two, each different"),
        ({"widths": [8, 8]}, ValueError, r"widths=\[8, 8\]\nexpected at least two"),
        ({"widths": [8, 0]}, ValueError, r"widths\[1\]=0 .*\nexpected a whole number of at least 1"),
        ({"steps": 0}, ValueError, r"steps=0 .*\nexpected a whole number"),
        ({"seeds": []}, ValueError, r"seeds=\[\]\nexpected at least one seed"),
        ({"inputs": draw(0, 6)}, ValueError, r"inputs of \(0, 6\)\nexpected a batch"),
        ({"inputs": "x"}, ValueError, r"inputs of type str\nexpected a batch"),
        ({"make_model": nn.Linear(6, 3)}, TypeError, "make_model is a Linear\nexpected a function"),
        (
            {"make_model": lambda width, seed: width},
            TypeError,
            r"make_model\(4, 0\) returned int\nexpected an nn.Module",
        ),
        ({"kinds": 3}, TypeError, "kinds=3\nexpected a class"),
        ({"optimizer": lambda parameters: 3}, TypeError, "optimizer returned int\nexpected a torch.optim.Optimizer"),
        ({"loss": lambda outputs, targets: outputs}, ValueError, r"loss.* of shape \(5, 3\)\nexpected a scalar"),
        ({"loss": lambda outputs, targets: 1.0}, ValueError, "loss.* of type float\nexpected a scalar"),
        ({"loss": lambda outputs, targets: torch.ones(())}, ValueError, "depends on no parameter .*\nexpected one"),
        (
            {
                "make_model": lambda width, seed: mlp(
                    [6] + width // 4 * [width] + [3], torch.tanh, initializer=lecun_normal_
                )
            },
            ValueError,
            "at width 8 other layers are called than at 4: layer2.linear\nexpected the same",
        ),
    ],
)
def test_what_cannot_be_checked_is_told(arguments, error, said):
    good = {"make_model": network, "inputs": draw(5, 6).float(), "targets": torch.arange(5) % 3}
    with pytest.raises(error, match=said):
        coordinate_check(**good | {"widths": [4, 8], "optimizer": SGD} | arguments)


def test_a_layer_that_was_not_checked_is_told_with_those_that_were():
    with pytest.raises(KeyError, match="'out' was not checked.*expected one of layer1.linear, layer2.linear, output"):
        CHECK(widths=[4, 8])["out"]
