"""How far a parameter moves is what its optimizer's formula says, alone or in company."""

from functools import partial

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import LinearLR, ReduceLROnPlateau, StepLR

from d2lstab import Dataset, he_normal_, mlp, seeded, train
from d2lstab import training as training_module
from d2lstab.randomness import normal
from d2lstab.training import Movement, clip_by_global_norm_
from tests.truth import truth

pytestmark = pytest.mark.slow

exact = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12, check_dtype=False)


def blobs(n: int = 60) -> Dataset:
    """Three classes of points in the plane."""
    targets = torch.arange(n) % 3
    centres = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    inputs = (centres[targets] + 0.5 * normal(n, 2, generator=seeded(0))).double()
    return Dataset(inputs[: n // 2], targets[: n // 2], inputs[n // 2 :], targets[n // 2 :])


def small(seed: int) -> nn.Sequential:
    return mlp([2, 8, 8, 3], torch.tanh, initializer=he_normal_, seed=seed, dtype=torch.float64)


quick = partial(
    train, small, blobs(), optimizer=partial(SGD, lr=0.1), seeds=range(3), steps=12, batch=10, progress=False
)
watched = partial(quick, movement=True)
warm_up = partial(LinearLR, start_factor=0.1, total_iters=8)


def test_plain_gradient_descent_moves_by_the_rate_times_the_gradient():
    movement = watched().movement
    exact(movement.update, 0.1 * movement.gradient)
    assert (movement.update > 0).all()


@pytest.mark.parametrize("optimizer", [Adam, partial(AdamW, weight_decay=0.0)], ids=["Adam", "AdamW"])
def test_adams_first_step_moves_every_entry_by_the_rate_whatever_its_gradient(optimizer):
    movement = watched(optimizer=partial(optimizer, lr=0.01, eps=1e-30)).movement
    entries = torch.tensor([p.numel() for p in small(0).parameters()]).double()
    exact(movement.update[..., 0], (0.01 * entries.sqrt()).expand(3, -1))


@truth("adam.const_g1", "adam.const_g1e-08", "adam.const_g1e-12")
def test_adam_moves_by_the_rate_times_g_over_g_plus_epsilon_at_every_step(row):
    g, lr, eps = (row["inputs"][name] for name in ("g", "lr", "eps"))

    class Slope(nn.Module):
        """Its loss has the gradient g everywhere."""

        def __init__(self, seed):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return g * self.w.expand(len(x), 1)

    movement = train(Slope, blobs(), optimizer=partial(Adam, lr=lr, eps=eps), loss=lambda out, _: out.mean(),
                     steps=300, batch=1, seeds=range(2), movement=True, progress=False).movement  # fmt: skip
    expected = torch.full((2, 1, 300), row["value"], dtype=torch.float64)
    torch.testing.assert_close(movement.update, expected, rtol=row["tolerance"]["rel"], atol=0)


def test_rmsprop_corrects_no_bias_and_starts_with_ten_times_the_rate():
    movement = watched(optimizer=partial(RMSprop, lr=0.01, alpha=0.99, eps=1e-30)).movement
    entries = torch.tensor([p.numel() for p in small(0).parameters()]).double()
    exact(movement.update[..., 0], (0.1 * entries.sqrt()).expand(3, -1))


def test_what_is_recorded_is_that_of_the_loop_a_reader_would_write():
    optimizer, data = partial(Adam, lr=0.01), blobs()
    movement = watched(optimizer=optimizer).movement
    for seed in range(3):
        model, batches = small(seed), training_module._batches(data, 10, [seed])
        updates = optimizer(model.parameters())
        for step in range(12):
            (inputs,), (targets,) = next(batches)
            updates.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            before = [p.detach().clone() for p in model.parameters()]
            updates.step()
            for index, (p, old) in enumerate(zip(model.parameters(), before)):
                exact(movement.gradient[seed, index, step], p.grad.norm())
                exact(movement.weight[seed, index, step], old.norm())
                exact(movement.update[seed, index, step], (p.detach() - old).norm())


def test_watching_changes_nothing_of_what_is_learned():
    with_it, without = watched(), quick()
    assert without.movement is None
    assert torch.equal(with_it.loss, without.loss)
    assert with_it.movement.names == tuple(name for name, _ in small(0).named_parameters())


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.1, momentum=0.9), partial(Adam, lr=0.01)], ids=["SGD", "Adam"])
def test_a_seed_moves_the_same_alone_or_in_company(optimizer):
    company = watched(optimizer=optimizer, seeds=range(5)).movement
    for seed in (0, 4):
        alone = watched(optimizer=optimizer, seeds=[seed]).movement
        for name in ("gradient", "update", "weight"):
            exact(getattr(alone, name)[0], getattr(company, name)[seed])


def test_a_stack_that_goes_through_the_loop_has_a_row_per_seed():
    def with_dropout(seed):
        return nn.Sequential(nn.Dropout(0.1), small(seed))

    history = train(with_dropout, blobs(), optimizer=partial(SGD, lr=0.1), steps=4, batch=10, seeds=range(3),
                    movement=True, progress=False)  # fmt: skip
    assert not history.together
    exact(history.movement.update, 0.1 * history.movement.gradient)


def test_the_gradient_is_that_before_clipping_and_the_update_that_after():
    movement = watched(clip=partial(clip_by_global_norm_, limit=1e-3)).movement
    total = movement.gradient.square().sum(1).sqrt()
    assert (total > 1e-2).all()
    exact(movement.update.square().sum(1).sqrt(), 0.1 * 1e-3 * total / (total + 1e-6))


def test_a_diverged_seed_has_no_movement_from_then_on():
    class Exploding(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.inner = small(seed)
            self.factor = nn.Parameter(torch.tensor(1e200 if seed == 1 else 1.0, dtype=torch.float64))

        def forward(self, x):
            return self.inner(x) * self.factor * self.factor

    history = train(Exploding, blobs(), optimizer=partial(SGD, lr=1e-3), steps=5, batch=10, seeds=range(3),
                    movement=True, progress=False)  # fmt: skip
    assert history.diverged.tolist() == [False, True, False]
    for tensor in (history.movement.gradient, history.movement.update, history.movement.weight):
        assert tensor[1].isnan().all()
        assert tensor[[0, 2]].isfinite().all()


def test_when_all_seeds_diverge_no_movement_is_left_over_of_the_step_that_was_not_made():
    data = blobs()
    data = Dataset(data.inputs * 1e308 * 1e10, data.targets, data.test_inputs, data.test_targets)
    movement = train(small, data, optimizer=partial(SGD, lr=0.1), steps=4, batch=10, seeds=range(2),
                     movement=True, progress=False).movement  # fmt: skip
    assert movement.gradient.isnan().all() and movement.update.isnan().all() and movement.weight.isnan().all()


def test_the_ratio_of_a_weight_of_zeros_is_nan_and_not_infinite():
    movement = watched().movement
    biases = [index for index, name in enumerate(movement.names) if name.endswith("bias")]
    weights = [index for index, name in enumerate(movement.names) if name.endswith("weight")]
    assert movement.ratio[:, biases, 0].isnan().all()
    assert movement.ratio[:, biases, 1:].isfinite().all()
    exact(movement.ratio[:, weights], movement.update[:, weights] / movement.weight[:, weights])


def test_a_parameter_that_the_loss_does_not_reach_has_no_gradient_and_stays():
    class Idle(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.inner, self.idle = small(seed), nn.Parameter(torch.ones(4, dtype=torch.float64))

        def forward(self, x):
            return self.inner(x)

    movement = train(Idle, blobs(), optimizer=partial(Adam, lr=0.01), steps=3, batch=10, seeds=range(2),
                     movement=True, progress=False).movement  # fmt: skip
    index = movement.names.index("idle")
    assert movement.gradient[:, index].isnan().all()
    exact(movement.weight[:, index], torch.full((2, 3), 2.0))
    assert (movement.update[:, index] == 0).all()
    others = [i for i in range(len(movement.names)) if i != index]
    assert movement.gradient[:, others].isfinite().all()


def test_frozen_parameters_are_not_watched():
    def half_frozen(seed):
        network = small(seed)
        network.layer1.requires_grad_(False)
        return network

    movement = train(half_frozen, blobs(), optimizer=partial(SGD, lr=0.1), steps=3, batch=10, seeds=range(2),
                     movement=True, progress=False).movement  # fmt: skip
    assert not any(name.startswith("layer1") for name in movement.names)
    exact(movement.update, 0.1 * movement.gradient)


def test_an_interrupted_run_keeps_the_movement_of_the_steps_done():
    calls = 0

    def stop(gradients):
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt

    history = watched(clip=stop)
    assert history.interrupted
    assert history.loss.shape == (3, 4)
    assert history.movement.update.shape == (3, len(history.movement.names), 4)
    exact(history.movement.update, 0.1 * history.movement.gradient)


def test_interrupted_in_the_loop_the_seeds_never_reached_are_nan():
    calls = 0

    def stop(gradients):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt

    def with_dropout(seed):
        return nn.Sequential(nn.Dropout(0.1), small(seed))

    history = train(with_dropout, blobs(), optimizer=partial(SGD, lr=0.1), steps=4, batch=10, seeds=range(3),
                    movement=True, progress=False, clip=stop)  # fmt: skip
    update = history.movement.update
    assert update.shape == (3, len(history.movement.names), 4)
    assert update[0].isfinite().all()
    assert update[1, :, :1].isfinite().all()
    assert update[1, :, 1:].isnan().all()
    assert update[2].isnan().all()


def test_a_warm_up_multiplies_each_update_by_its_factor():
    movement = watched(schedule=warm_up).movement
    factor = torch.tensor([min(1.0, 0.1 + 0.9 * step / 8) for step in range(12)])
    exact(movement.update, 0.1 * factor * movement.gradient, rtol=1e-6)


def test_a_scheduled_run_is_the_loop_a_reader_would_write():
    optimizer, data = partial(Adam, lr=0.05), blobs()
    history = quick(optimizer=optimizer, schedule=warm_up)
    assert history.together
    for seed in range(3):
        model, batches = small(seed), training_module._batches(data, 10, [seed])
        updates = optimizer(model.parameters())
        schedule = warm_up(updates)
        for step in range(12):
            (inputs,), (targets,) = next(batches)
            loss = F.cross_entropy(model(inputs), targets)
            exact(history.loss[seed, step], loss.detach())
            updates.zero_grad()
            loss.backward()
            updates.step()
            schedule.step()


def test_each_network_of_the_loop_has_a_schedule_of_its_own():
    def with_dropout(seed):
        return nn.Sequential(nn.Dropout(0.1), small(seed))

    movement = train(with_dropout, blobs(), optimizer=partial(SGD, lr=0.1), steps=4, batch=10, seeds=range(2),
                     movement=True, progress=False, schedule=partial(StepLR, step_size=2)).movement  # fmt: skip
    exact(movement.update, torch.tensor([0.1, 0.1, 0.01, 0.01]) * movement.gradient, rtol=1e-6)


def test_its_picture_leaves_out_what_starts_at_zero_and_marks_a_thousandth():
    movement = watched().movement
    ax = movement.plot(label="a run")
    measured, rule = ax.get_lines()
    weights = [index for index, name in enumerate(movement.names) if name.endswith("weight")]
    median = movement.ratio[:, weights].nanmedian(0).values.nanmedian(0).values
    exact(torch.as_tensor(measured.get_ydata()), median)
    assert set(rule.get_ydata()) == {1e-3}
    assert (ax.get_yscale(), ax.get_xlabel()) == ("log", "step")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a run"]
    plt.close(ax.figure)


def test_it_says_what_it_holds():
    assert isinstance(watched().movement, Movement)
    assert "3×6×12 float64" in repr(watched().movement)


@pytest.mark.parametrize(
    "schedule", [lambda optimizer: None, 0.1, partial(ReduceLROnPlateau, patience=3)],
    ids=["none", "a number", "one that must be told the loss"],
)  # fmt: skip
def test_a_schedule_that_does_not_step_by_itself_is_refused(schedule):
    with pytest.raises(TypeError, match=r"schedule returned \w+\nexpected one of torch's schedulers"):
        quick(schedule=schedule)


@pytest.mark.parametrize("weight", [torch.nan, 1e30])
def test_networks_that_are_lost_at_once_can_be_looked_at(weight):
    def lost(seed: int) -> nn.Sequential:
        network = small(seed)
        nn.init.constant_(network.output.weight, weight)
        return network

    ax = train(
        lost,
        blobs(),
        optimizer=partial(SGD, lr=1e200),
        seeds=range(2),
        steps=3,
        batch=10,
        movement=True,
        progress=False,
    ).movement.plot()
    ax.figure.canvas.draw()
    assert ax.get_yscale() == "log"
    plt.close("all")
