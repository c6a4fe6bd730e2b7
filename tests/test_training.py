"""Many seeds at once learn as each would alone, and what one of them does hurts no other."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import LBFGS, SGD, Adagrad, Adam, AdamW, RMSprop

from d2lstab import Dataset, he_normal_, mlp, seeded, train
from d2lstab import training as training_module
from d2lstab.randomness import normal
from d2lstab.training import clip_by_global_norm_, clip_by_norm_, clip_by_value_
from tests.truth import truth


def blobs(n: int = 60, dtype=torch.float64) -> Dataset:
    """Three classes of points in the plane."""
    targets = torch.arange(n) % 3
    centres = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    inputs = (centres[targets] + 0.5 * normal(n, 2, generator=seeded(0))).to(dtype)
    return Dataset(inputs[: n // 2], targets[: n // 2], inputs[n // 2 :], targets[n // 2 :])


def small(seed: int) -> nn.Sequential:
    return mlp([2, 8, 8, 3], torch.tanh, initializer=he_normal_, seed=seed, dtype=torch.float64)


def normalized(seed: int) -> nn.Sequential:
    first, *rest = small(seed)
    return nn.Sequential(first, nn.BatchNorm1d(8, dtype=torch.float64), *rest)


quick = partial(train, data=blobs(), optimizer=partial(SGD, lr=0.1), steps=20, batch=10, progress=False)


def by_hand(make_model, seed: int, optimizer, steps: int = 20, batch: int = 10, clip=None) -> torch.Tensor:
    """The losses of one seed in the loop that a reader would write."""
    data, model = blobs(), make_model(seed)
    updates, losses = optimizer(model.parameters()), []
    batches = training_module._batches(data, batch, [seed])
    for _ in range(steps):
        (inputs,), (targets,) = next(batches)
        loss = F.cross_entropy(model(inputs), targets)
        updates.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        updates.step()
        losses.append(loss.detach())
    return torch.stack(losses)


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(SGD, lr=0.1),
        partial(SGD, lr=0.1, momentum=0.9, weight_decay=1e-3),
        partial(Adam, lr=0.01),
        partial(AdamW, lr=0.01),
        partial(RMSprop, lr=0.01),
        partial(Adagrad, lr=0.1),
    ],
    ids=lambda optimizer: optimizer.func.__name__,
)
def test_a_stack_learns_as_the_loop_a_reader_would_write(optimizer):
    history = quick(small, optimizer=optimizer, seeds=range(3))
    assert history.together
    for seed in range(3):
        torch.testing.assert_close(history.loss[seed], by_hand(small, seed, optimizer))


def test_a_seed_gives_the_same_curve_alone_or_among_32():
    company = quick(small, seeds=range(32))
    for seed in (0, 17, 31):
        alone = quick(small, seeds=[seed])
        torch.testing.assert_close(alone.loss[0], company.loss[seed])
        torch.testing.assert_close(alone.gradient_norm[0], company.gradient_norm[seed])
        torch.testing.assert_close(alone.accuracy[0], company.accuracy[seed])


def test_batch_normalization_has_the_statistics_of_its_own_seed():
    history = quick(normalized, seeds=range(3))
    assert history.together
    assert history.loss.shape == (3, 20)
    for seed in range(3):
        torch.testing.assert_close(history.loss[seed], by_hand(normalized, seed, partial(SGD, lr=0.1)))


def test_a_module_with_control_flow_on_its_data_goes_through_the_loop():
    class Choosy(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.inner = small(seed)

        def forward(self, x):
            return self.inner(x) if x.sum() > 0 else self.inner(-x)

    history = quick(Choosy, seeds=range(2), steps=3)
    assert not history.together
    assert history.loss.isfinite().all()


def test_dropout_draws_from_its_seed_and_leaves_the_global_stream_alone():
    def dropping(seed):
        return nn.Sequential(small(seed), nn.Dropout(0.5))

    before = torch.get_rng_state()
    company, alone = quick(dropping, seeds=range(3)), quick(dropping, seeds=[2])
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(company.loss[2], alone.loss[0])


def test_torchs_own_default_initialization_is_the_same_for_a_seed():
    def plain(seed):
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)).double()

    before = torch.get_rng_state()
    first, second = quick(plain, seeds=range(2)), quick(plain, seeds=range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.loss, second.loss)
    assert not torch.equal(first.loss[0], first.loss[1])


def test_learning_lowers_the_loss_and_names_classes():
    history = quick(small, steps=200, seeds=range(4))
    assert (history.loss[:, -20:].mean(1) < history.loss[:, :5].mean(1) / 2).all()
    assert (history.accuracy > 0.8).all()


def seed_1_is_hopeless(seed: int) -> nn.Sequential:
    model = small(seed)
    if seed == 1:
        nn.init.constant_(model.output.bias, torch.inf)
    return model


@pytest.mark.parametrize("clip", [None, partial(clip_by_global_norm_, limit=1.0)], ids=["free", "clipped"])
def test_a_diverged_seed_stops_without_hurting_the_others(clip):
    history = quick(seed_1_is_hopeless, seeds=range(3), clip=clip)
    healthy = quick(small, seeds=range(3), clip=clip)
    assert history.diverged.tolist() == [False, True, False]
    assert not history.loss[1].isfinite().any()
    for seed in (0, 2):
        torch.testing.assert_close(history.loss[seed], healthy.loss[seed])


def test_a_loss_that_explodes_later_is_recorded_until_then():
    def linear(seed):
        return mlp([2, 8, 8, 3], lambda z: z, initializer=he_normal_, seed=seed, dtype=torch.float64)

    history = quick(linear, optimizer=partial(SGD, lr=1e100), seeds=range(2), steps=10)
    assert history.diverged.all()
    assert history.loss.shape == (2, 10)
    assert history.loss[:, 0].isfinite().all()
    assert history.loss[:, -1].isnan().all()


def test_one_network_after_the_other_also_survives_a_diverged_seed():
    def sometimes(seed):
        model = normalized(seed)
        if seed == 0:
            nn.init.constant_(model[-1].bias, torch.nan)
        return model

    history = quick(sometimes, seeds=range(2))
    assert history.diverged.tolist() == [True, False]
    torch.testing.assert_close(history.loss[1], by_hand(normalized, 1, partial(SGD, lr=0.1)))


def test_clipping_in_a_stack_is_torchs_clipping_of_each_seed():
    history = quick(small, seeds=range(3), clip=partial(clip_by_global_norm_, limit=0.1))
    for seed in range(3):
        torch.testing.assert_close(history.loss[seed], by_hand(small, seed, partial(SGD, lr=0.1), clip=0.1))
    assert (history.gradient_norm[:, 0] > 0.1).all()  # recorded before clipping


def gradients() -> list[torch.Tensor]:
    """Two seeds; the second's gradient is ten times the first's. The first's norm is 13."""
    first = [torch.tensor([[3.0, 4.0]]), torch.tensor([[[0.0], [12.0]]])]
    return [torch.cat([g, 10 * g]) for g in first]


def test_clipping_by_value_bounds_each_entry():
    clipped = gradients()
    assert clip_by_value_(clipped, 3.5).tolist() == [13, 130]
    assert clipped[0].tolist() == [[3, 3.5], [3.5, 3.5]]


def test_clipping_by_norm_bounds_each_tensor():
    clipped = gradients()
    clip_by_norm_(clipped, 6.0)
    assert clipped[0][0].tolist() == [3, 4]  # its norm is 5
    torch.testing.assert_close(clipped[0][1], torch.tensor([3.6, 4.8]))
    torch.testing.assert_close(clipped[1][0], torch.tensor([[0.0], [6.0]]))


def test_clipping_by_global_norm_keeps_the_direction_of_each_seed():
    clipped = gradients()
    assert clip_by_global_norm_(clipped, 6.5).tolist() == [13, 130]
    for gradient, original in zip(clipped, gradients()):
        torch.testing.assert_close(gradient[0], original[0] * 0.5)
        torch.testing.assert_close(gradient[1], original[1] * 0.05)


@truth("clip.global")
def test_global_clipping_of_the_reference_table(row):
    clipped = [torch.tensor([row["inputs"][name]], dtype=torch.float64) for name in ("g1", "g2")]
    norm = clip_by_global_norm_(clipped, row["inputs"]["max_norm"])
    assert norm.tolist() == pytest.approx([row["value"]["returned_norm"]], rel=1e-12)
    for gradient, name in zip(clipped, ("g1", "g2")):
        assert gradient[0].tolist() == pytest.approx(row["value"][name], rel=1e-12)


@truth("clip.norm_overflow")
def test_a_gradient_beyond_the_square_root_of_the_largest_float_is_clipped_and_not_lost(row):
    beyond = torch.full((1, 1), 1.01 * row["value"])
    assert beyond.square().isinf()
    clip_by_global_norm_([beyond], 1.0)
    assert beyond.item() == pytest.approx(1)


@truth("init.symmetry")
@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.1), partial(Adam, lr=0.01)], ids=["SGD", "Adam"])
def test_units_that_start_equal_stay_equal(row, optimizer):
    def constant_(weight, *, generator):
        return weight.fill_(0.3)

    models = []

    def equal(seed):
        models.append(mlp([2, 8, 3], torch.tanh, initializer=constant_, dtype=torch.float64))
        return models[-1]

    quick(equal, optimizer=optimizer, seeds=[0])
    hidden = models[0].layer1(blobs().inputs).detach()
    # Equal to rounding: a kernel may add up the terms of two equal units in different orders (chapter 04).
    weight = models[0].layer1.linear.weight
    assert len(weight.detach().mul(1e9).round().unique(dim=0)) == row["value"]["distinct_units"]
    assert torch.linalg.matrix_rank(hidden, rtol=1e-9) == row["value"]["rank"]
    assert not models[0].layer1.linear.weight.eq(0.3).any()  # it did move


def test_a_norm_whose_square_overflows_is_still_right():
    assert clip_by_global_norm_([torch.full((1, 4), 1e30)], 1.0).tolist() == pytest.approx([2e30])


@pytest.mark.parametrize("clip", [clip_by_value_, clip_by_norm_, clip_by_global_norm_])
@pytest.mark.parametrize(
    ("other", "told"),
    [(torch.ones(3, 2), r"float32 \(3, 2\)"), (torch.ones(2, 2, dtype=torch.int64), r"int64 \(2, 2\)")],
)
def test_gradients_of_other_seeds_or_of_whole_numbers_are_refused_before_anything_is_clipped(clip, other, told):
    given = torch.full((2, 3), 5.0)
    with pytest.raises(ValueError, match=rf"gradients=float32 \(2, 3\), {told}\nexpected tensors of floats"):
        clip([given, other], 1.0)
    assert (given == 5).all()


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_gradient_that_is_not_finite_is_treated_as_torch_treats_it_and_stays_with_its_seed(value):
    clipped = gradients()
    clipped[0][1, 0] = value
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = clipped[0][1].clone()
    other = nn.Parameter(torch.zeros(2, 1))
    other.grad = clipped[1][1].clone()
    nn.utils.clip_grad_norm_([parameter, other], 1.0)
    clip_by_global_norm_(clipped, 1.0)
    torch.testing.assert_close(clipped[0][1], parameter.grad, equal_nan=True)
    assert clipped[0][0].isfinite().all()


@pytest.mark.parametrize("clip", [clip_by_value_, clip_by_norm_, clip_by_global_norm_])
@pytest.mark.parametrize("limit", [-1.0, 0.0, float("nan")])
def test_a_limit_that_is_not_positive_is_refused(clip, limit):
    with pytest.raises(ValueError, match=r"limit=.*\nexpected a positive number"):
        clip(gradients(), limit)


@pytest.mark.parametrize("make_model", [small, normalized], ids=["together", "alone"])
def test_an_interrupted_run_keeps_the_steps_done(make_model):
    calls = []

    def stop_in_step_8(gradients):
        calls.append(None)
        if len(calls) == 8:
            raise KeyboardInterrupt

    history = quick(make_model, clip=stop_in_step_8, seeds=range(2))
    assert history.interrupted
    assert history.loss.shape == (2, 7)
    assert history.loss[0].isfinite().all()
    assert history.accuracy[0].isfinite()
    assert not history.diverged.any()


def test_a_loss_that_vmap_cannot_take_goes_through_the_loop():
    def picky(outputs, targets):
        return F.cross_entropy(outputs, targets) * (2.0 if outputs.sum().item() != torch.pi else 0.0)

    history, plain = quick(small, loss=picky, seeds=range(2), steps=1), quick(small, seeds=range(2), steps=1)
    assert not history.together
    torch.testing.assert_close(history.loss, 2 * plain.loss)


def test_optimizers_that_mix_entries_see_each_seed_alone():
    class Normalized(SGD):
        """Steps of a fixed length per tensor, so that a stack would be another optimizer."""

        def step(self, closure=None):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.grad /= parameter.grad.norm()
            return super().step(closure)

    company, alone = (quick(small, optimizer=partial(Normalized, lr=0.1), seeds=seeds) for seeds in (range(3), [2]))
    assert not company.together
    torch.testing.assert_close(company.loss[2], alone.loss[0])


def test_targets_that_are_numbers_have_no_accuracy():
    data = blobs()
    numbers = Dataset(data.inputs, data.inputs[:, :1], data.test_inputs, data.test_inputs[:, :1])

    def regression(seed):
        return mlp([2, 8, 1], torch.tanh, initializer=he_normal_, seed=seed, dtype=torch.float64)

    history = quick(regression, data=numbers, loss=F.mse_loss, seeds=range(2))
    assert history.accuracy.isnan().all()
    assert (history.loss[:, -1] < history.loss[:, 0]).all()


def test_data_follow_the_dtype_of_the_model():
    assert quick(small, data=blobs(dtype=torch.float32), seeds=[0]).loss.isfinite().all()


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps=0"),
        ({"batch": -1}, ValueError, "batch=-1"),
        ({"batch": 31}, ValueError, "batch=31 of 30 examples"),
        ({"seeds": []}, ValueError, "seeds="),
        ({"make_model": lambda seed: nn.Linear(5, 3)}, ValueError, r"inputs of shape \(10, 2\)"),
        (
            {"make_model": lambda seed: nn.Linear(2, 2)},
            ValueError,
            "targets with class 2 for 2 outputs\nexpected 0 to 1",
        ),
        ({"device": "cuda:99"}, ValueError, "cannot be used here"),
        ({"optimizer": lambda parameters: None}, TypeError, "optimizer returned NoneType"),
        ({"optimizer": LBFGS}, TypeError, "LBFGS"),
        ({"loss": partial(F.cross_entropy, reduction="none")}, ValueError, "expected a scalar"),
        ({"make_model": lambda seed: torch.tanh}, TypeError, r"make_model\(0\) returned builtin"),
    ],
)
def test_bad_input_is_told_what_is_expected(bad, error, message):
    arguments = {"make_model": small} | bad
    with pytest.raises(error, match=message):
        quick(**arguments)


def test_a_history_draws_the_seeds_that_survived_and_counts_the_others():
    ax = quick(seed_1_is_hopeless, seeds=range(3)).plot(label="loss")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["loss (1 of 3 seeds diverged)"]
    assert len(ax.lines[0].get_ydata()) == 20
