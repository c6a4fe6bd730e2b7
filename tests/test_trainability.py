"""What one look says about training, against labels from real training."""

import math

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import nn
from torch.nn import functional as F

from d2lstab.trainability.forecast import trainability
from d2lstab.trainability.operations import Operations
from d2lstab.trainability.rehearsal import _size, outcomes, rehearsal
from d2lstab.trainability.tangent import independent_directions, tangent_kernel
from tests.labelled_networks import configurations, network, samples

pytestmark = pytest.mark.slow

DIGITS, CLASSES = samples({"family": "mlp", "input_scale": 1.0, "input_shift": 0.0}, 64)


def deep(depth=6, width=64, activation=nn.ReLU, initializer=nn.init.kaiming_normal_):
    torch.manual_seed(0)
    layers, size = [], 64
    for _ in range(depth):
        layers += [nn.Linear(size, width), activation()]
        initializer(layers[-2].weight)
        nn.init.zeros_(layers[-2].bias)
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 10))


class Recurrent(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.first = nn.GRU(8, 32, batch_first=batch_first), nn.Linear(32, 10), batch_first

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1] if self.first else self.body(x)[0][-1])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, *, tokens):
        return {"logits": self.head(self.body(tokens).mean(1)), "length": tokens.shape[1]}


def test_one_look_predicts_real_training_on_a_fifth_of_the_labelled_networks():
    """All of them are in `make bench`; a fifth leaves an uncertainty of 0.04."""
    found = {"sgd": [], "adam": []}
    for config in configurations()[::5]:
        answer = trainability(network(config), *samples(config), F.cross_entropy)
        for which, pairs in found.items():
            if config[f"{which}_label"] is not None:
                pairs.append((config[f"{which}_label"], getattr(answer, which)))
    for which, least in (("sgd", 0.94), ("adam", 0.92)):
        labels, answers = zip(*found[which])
        assert roc_auc_score(labels, answers) >= least, which
        assert balanced_accuracy_score(labels, [value > 0.5 for value in answers]) >= 0.85, which


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_size_of_the_loss_does_not_matter(scale):
    plain = trainability(deep(), DIGITS, CLASSES, F.cross_entropy)
    scaled = trainability(deep(), DIGITS, CLASSES, lambda out, y: scale * F.cross_entropy(out, y))
    summed = trainability(deep(), DIGITS, CLASSES, nn.CrossEntropyLoss(reduction="sum"))
    assert (scaled.sgd, scaled.adam) == pytest.approx((plain.sgd, plain.adam), abs=0.02)
    assert (summed.sgd, summed.adam) == pytest.approx((plain.sgd, plain.adam), abs=0.02)


def test_half_precision_is_as_trainable_as_single():
    plain = trainability(deep(), DIGITS, CLASSES, F.cross_entropy)
    half = trainability(deep().bfloat16(), DIGITS.bfloat16(), CLASSES, F.cross_entropy)
    assert (half.sgd, half.adam) == pytest.approx((plain.sgd, plain.adam), abs=0.05)


def test_a_part_of_a_sorted_batch_holds_every_class():
    order = CLASSES.argsort()
    part = rehearsal(deep(), DIGITS[order], CLASSES[order], None).part(20)
    assert part.samples == 20 and set(part.targets.tolist()) == set(range(10))


def test_healthy_networks_are_trainable_and_broken_ones_are_not():
    zero_head = deep()
    nn.init.zeros_(zero_head[-1].weight)
    for healthy in (deep(), zero_head, deep(activation=nn.Tanh, initializer=nn.init.xavier_normal_)):
        answer = trainability(healthy, DIGITS, CLASSES, F.cross_entropy)
        assert min(answer.sgd, answer.adam) > 0.5
    small, vanishing = deep(), deep(20, activation=nn.Sigmoid, initializer=nn.init.xavier_normal_)
    for parameter in small.parameters():
        nn.init.constant_(parameter, 0.0)
    for broken in (small, vanishing):
        answer = trainability(broken, DIGITS, CLASSES, F.cross_entropy)
        assert max(answer.sgd, answer.adam) < 0.5


@pytest.mark.parametrize("make", [Recurrent, lambda: Recurrent(batch_first=False)])
def test_recurrent_networks_are_measured_whichever_axis_is_the_batch(make):
    model, x = make(), DIGITS.view(-1, 8, 8)
    answer = trainability(model, x if model.first else x.transpose(0, 1), CLASSES, F.cross_entropy)
    assert answer.note == "" and 0 < answer.sgd < 1 and answer.adam > 0.5


def test_inputs_come_as_tensor_tuple_dict_or_both():
    model = deep()
    answers = [trainability(model, given, CLASSES, None).sgd for given in (DIGITS, (DIGITS,), ((DIGITS,), {}))]
    assert answers == [answers[0]] * 3
    encoder, tokens = Encoder(), {"tokens": DIGITS.view(-1, 8, 8)}
    first = trainability(encoder, tokens, CLASSES, lambda out, y: F.cross_entropy(out["logits"], y))
    second = trainability(encoder, ((), tokens), CLASSES, lambda out, y: F.cross_entropy(out["logits"], y))
    assert first.note == "" and (first.sgd, first.adam) == (second.sgd, second.adam)


def test_numbers_without_a_loss_and_no_targets_at_all_are_measured():
    for targets in (torch.randn(64, 10, generator=torch.Generator().manual_seed(0)), None):
        answer = trainability(deep(), DIGITS, targets, None)
        assert answer.note == "" and 0.5 < answer.adam <= 1


class Restless(nn.Module):
    """Counts its calls, draws numbers, works in place on what it is given, and may fail."""

    def __init__(self, fails_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Dropout(0.1))
        self.head, self.calls, self.fails_at = nn.Linear(32, 10), 0, fails_at

    def forward(self, x):
        self.calls += 1
        self.last = self.body(x)
        if self.calls == self.fails_at:
            raise RuntimeError("it fails")
        return self.head(self.last)


@pytest.mark.parametrize("fails_at", [None, 5, 9, 40])
def test_the_network_is_left_as_it_was(fails_at):
    model, x = Restless(fails_at), DIGITS.clone()
    model.body[3].eval()
    F.cross_entropy(model.head(model.body(x.clone())), CLASSES).backward()
    numbers = {name: (each, each.clone()) for name, each in [*model.named_parameters(), *model.named_buffers()]}
    gradients = {name: (each.grad, each.grad.clone()) for name, each in model.named_parameters()}
    modes, state = [each.training for each in model.modules()], torch.get_rng_state()
    answer = trainability(model, x, CLASSES, F.cross_entropy)
    assert math.isnan(answer.sgd) == (fails_at is not None) and ("cannot be run" in answer.note) == (
        fails_at is not None
    )
    for name, each in [*model.named_parameters(), *model.named_buffers()]:
        assert each is numbers[name][0] and torch.equal(each, numbers[name][1])
    for name, each in model.named_parameters():
        assert each.grad is gradients[name][0] and torch.equal(each.grad, gradients[name][1])
    assert [each.training for each in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(x, DIGITS)
    assert model.calls == 0 and "last" not in vars(model) and not model._forward_hooks


def test_inputs_are_left_as_they_were_by_layers_that_work_in_place():
    x = DIGITS[:16].clone()
    trainability(Restless(), x, CLASSES[:16], F.cross_entropy)
    assert torch.equal(x, DIGITS[:16])


def test_an_interruption_passes_through_and_leaves_the_network_as_it_was():
    class Interrupted(Restless):
        def forward(self, x):
            if self.calls == 5:
                raise KeyboardInterrupt
            return super().forward(x)

    model = Interrupted()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        trainability(model, DIGITS, CLASSES, F.cross_entropy)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items()) and model.calls == 0


def test_what_cannot_be_measured_says_why():
    frozen, huge = deep().requires_grad_(False), nn.Linear(64, 800_000, device="meta")
    for model, x, y, why in (
        (frozen, DIGITS, CLASSES, "no parameter requires a gradient"),
        (huge, DIGITS, CLASSES, "52,000,000 parameters"),
        (deep(), DIGITS[:3], CLASSES[:3], "3 samples"),
        (deep(), DIGITS, torch.ones(64).long(), "same target"),
        (deep(), DIGITS[:, :5], CLASSES, "cannot be run"),
        (nn.Sequential(nn.Conv2d(1, 64, 3), nn.Conv2d(64, 64, 3)), torch.randn(8, 1, 64, 64), None, "too much work"),
    ):
        answer = trainability(model, x, y, None)
        assert math.isnan(answer.sgd) and math.isnan(answer.adam) and why in answer.note


def test_a_loss_that_is_never_finite_does_not_train():
    answer = trainability(deep(), DIGITS, CLASSES, lambda out, y: F.cross_entropy(out, y) / 0)
    assert max(answer.sgd, answer.adam) < 0.01


def test_frozen_parameters_do_not_move():
    model = deep(2)
    model[0].requires_grad_(False)
    tried = rehearsal(model, DIGITS, CLASSES, None)
    for outcome in outcomes(tried, torch.optim.SGD, (0.1,), 3):
        learning, other = outcome.numbers
        assert torch.equal(other["0.weight"], model[0].weight) and not torch.equal(
            learning["2.weight"], model[2].weight
        )


def test_a_network_that_ignores_its_input_learns_nothing_about_samples():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(10))

        def forward(self, x):
            return self.bias.expand(len(x), -1)

    (outcome,) = outcomes(rehearsal(Blind(), DIGITS, CLASSES, None), torch.optim.SGD, (0.1,), 5)
    assert outcome.learnt == pytest.approx(0, abs=1e-6)


def test_the_tangent_kernel_of_a_linear_layer_is_the_gram_matrix_of_its_inputs():
    x, layer = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), nn.Linear(3, 4)
    kernel = tangent_kernel(layer(x), list(layer.parameters()), samples=5)
    torch.testing.assert_close(kernel, 4 * (x.double() @ x.double().T + 1), rtol=1e-5, atol=1e-5)


def test_samples_nearby_hold_a_little_of_another_and_targets_stay():
    x = torch.arange(8.0).view(4, 2)
    near = rehearsal(deep(), ((x, torch.arange(4)), {}), torch.arange(4), None).nearby()
    torch.testing.assert_close(near.arguments[0], 0.7 * x + 0.3 * x[[2, 3, 0, 1]])
    assert torch.equal(near.arguments[1], torch.arange(4)) and torch.equal(near.targets, torch.arange(4))


def test_masks_stay_finite_where_samples_are_mixed():
    mask = torch.tensor([[0.0, -math.inf], [0.0, 0.0]])
    near = rehearsal(deep(), mask, torch.arange(2), None).nearby()
    assert torch.equal(near.arguments[0], mask)


def test_what_a_network_knows_by_heart_it_has_not_learnt():
    """A table with a row per sample answers only for exactly these samples; a linear layer for those nearby too."""

    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = nn.Parameter(torch.zeros(64, 10))

        def forward(self, x):
            return (torch.cdist(x, DIGITS) < 1e-3).float() @ self.rows

    def learnt(model):
        return next(outcomes(rehearsal(model, DIGITS, CLASSES, None), torch.optim.SGD, (10.0,), 10)).learnt

    torch.manual_seed(0)
    assert learnt(Table()) == pytest.approx(0, abs=1e-6) and learnt(nn.Linear(64, 10)) > 0.3


def test_large_parameters_are_sampled_without_losing_directions():
    x = torch.randn(6, 400, generator=torch.Generator().manual_seed(0))
    layer = nn.Linear(400, 400)
    wanted = torch.eye(6)
    exact = independent_directions(x.double() @ x.double().T, wanted)
    sampled = independent_directions(tangent_kernel(layer(x), list(layer.parameters()), samples=6), wanted)
    assert sampled == pytest.approx(exact, abs=0.1)


def test_directions_are_one_for_a_kernel_of_independent_samples_and_least_for_a_line():
    line, wanted = torch.arange(6.0, dtype=torch.float64), torch.eye(6)
    assert independent_directions(torch.eye(6, dtype=torch.float64), wanted) == pytest.approx(1)
    assert independent_directions(torch.outer(line, line), wanted) == pytest.approx(1e-6 ** (4 / 5), rel=1e-6)
    assert independent_directions(torch.full((6, 6), math.inf), wanted) == 0
    assert independent_directions(torch.ones(6, 6), wanted) == 0


def test_samples_need_to_move_apart_only_where_their_answers_are_to_go():
    line = torch.arange(6.0, dtype=torch.float64)
    kernel = torch.outer(line, line)
    across = torch.tensor([1.0, -1, 0, 0, -1, 1])
    assert independent_directions(kernel, line) == independent_directions(kernel, 5 - 3 * line) == pytest.approx(1)
    assert independent_directions(kernel, across) == pytest.approx(1e-6, rel=1e-3)
    half = line.sub(2.5) / line.sub(2.5).norm() + across / across.norm()
    assert independent_directions(kernel, half) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("wanted", [torch.zeros(6), torch.full((6, 2), math.nan)])
def test_where_nothing_in_particular_is_wanted_all_directions_count_alike(wanted):
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    every = independent_directions(x @ x.T, torch.eye(6))
    assert independent_directions(x @ x.T, wanted) == pytest.approx(every)


def test_a_squared_error_wants_answers_to_go_where_the_targets_are():
    y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    tried = rehearsal(nn.Linear(64, 3), DIGITS[:8], y, None)
    wanted = -tried.wanted(tried.outputs(*tried.numbers()))
    torch.testing.assert_close((wanted - wanted.mean(0)) * y.numel() / 2, y - y.mean(0))


def test_the_picture_shows_both_optimizers():
    answer = trainability(deep(2), DIGITS, CLASSES, None)
    labels = [text.get_text() for text in answer.plot().get_legend().get_texts()]
    assert labels == [f"SGD: {answer.sgd:.2f}", f"Adam: {answer.adam:.2f}"]
    assert set(answer.quantities) >= {"sgd_learnt", "adam_directions", "sgd_rate", "samples"}


def test_an_operation_of_a_convolution_in_groups_counts_six_times():
    x, counted = torch.zeros(1, 8, 4, 4), []
    for groups in (1, 2):
        with Operations() as operations, torch.no_grad():
            nn.Conv2d(8, 8, 3, padding=1, groups=groups)(x)
        counted.append(operations.total)
    assert counted == [2 * 8 * 8 * 9 * 16, 6 * 2 * 8 * 4 * 9 * 16]


def test_a_forecast_tells_its_steps_and_no_more():
    steps = []
    list(outcomes(rehearsal(deep(2), DIGITS, CLASSES, None), torch.optim.SGD, (0.01, 0.1), 3, lambda: steps.append(1)))
    assert len(steps) == 6


def test_the_slope_of_a_loss_is_measured_by_answer_and_a_flat_loss_has_none():
    outputs = torch.zeros(4, requires_grad=True)
    assert _size(outputs.sum(), outputs, torch.zeros(4)) == 4.0  # the root of four slopes of 1, times the root of four
    assert _size(outputs.sum(), outputs, None) == 2.0
    assert _size((0 * outputs).sum(), outputs, torch.zeros(4)) == 1.0
    assert _size((math.inf * outputs).sum(), outputs, torch.zeros(4)) == 1.0
