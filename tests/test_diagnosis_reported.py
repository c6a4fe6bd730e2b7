"""Faults that people report most and that no number of a layer shows: each beside what is meant to be so."""

from functools import partial
from importlib import import_module
from math import log
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from d2lstab import diagnose, seeded
from d2lstab.diagnosis import Finding
from d2lstab.diagnosis.evidence import NOT_MEASURED
from d2lstab.randomness import normal
from tests.test_diagnosis import X, Y, by_hand, default, fresh, half_of, network, single

module = import_module("d2lstab.diagnosis.diagnose")  # the package has a function of that name
BINARY = (Y % 2).float()[:, None]
SEQUENCES = normal(16, 12, 5, generator=seeded(0))


def told(model: nn.Module, inputs=X, targets=Y, loss=None, optimizer=None) -> list[str]:
    """The faults found, without the forecast, which they do not need."""
    with patch.object(module, "trainability", lambda *_: NOT_MEASURED):
        return [each.fault for each in diagnose(model, inputs, targets, loss, optimizer=optimizer).findings]


# Never changed


class InAList(nn.Module):
    """Layers in a list, of torch's kind or of Python's."""

    def __init__(self, kind=list):
        super().__init__()
        self.layers = kind([nn.Linear(64, 64), nn.Linear(64, 64)])
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)


class Adapted(nn.Module):
    """A frozen layer with a product of two narrow ones beside it."""

    def __init__(self, first: float, second: float):
        super().__init__()
        self.base, self.a, self.b = nn.Linear(64, 10), nn.Linear(64, 4, bias=False), nn.Linear(4, 10, bias=False)
        self.base.requires_grad_(False)
        for layer, scale in ((self.a, first), (self.b, second)):
            nn.init.normal_(layer.weight, std=0.1).data.mul_(scale)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x))


def test_layers_in_a_plain_list_are_nobodys_parameters():
    assert told(fresh(InAList))[0] == "untrained"
    assert told(fresh(lambda: InAList(nn.ModuleList))) == []


def test_a_tensor_that_the_optimizer_was_given_is_trained():
    model = fresh(InAList)
    loose = [each for layer in model.layers for each in layer.parameters()]
    assert told(model, optimizer=torch.optim.Adam([*model.parameters(), *loose], 1e-3)) == []
    assert told(model, optimizer=torch.optim.Adam(model.parameters(), 1e-3))[0] == "untrained"


def test_an_optimizer_of_a_part_is_a_warning_and_frozen_parts_are_not_missed():
    model = network(depth=3)
    part = torch.optim.SGD(model.output.parameters(), 0.1)
    report = diagnose(model, X, Y, optimizer=part)
    assert [(each.fault, each.severity) for each in report.findings] == [("untrained", "warning")]
    assert "6 of 8 parameters not" in report.findings[0].evidence
    for name, each in model.named_parameters():
        each.requires_grad_(name.startswith("output"))
    assert told(model, optimizer=part) == []


def test_two_factors_at_zero_keep_each_other_there_and_one_does_not():
    assert told(fresh(lambda: Adapted(0, 0)))[0] == "untrained"
    assert told(fresh(lambda: Adapted(1, 0))) == []
    assert told(fresh(lambda: Adapted(0, 1))) == []


class Gated(nn.Module):
    """Residual blocks whose second layer begins at 0, under a head that does too, as diffusion models do."""

    def __init__(self, blocks: int = 6):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)) for _ in range(blocks)
        )
        self.head = nn.Linear(64, 10)
        for layer in (self.head, *(each[2] for each in self.blocks)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_zeros_behind_zeros_come_to_life_one_step_after_the_other():
    assert told(fresh(Gated)) == []


def over_one_class(o, t):
    share = o / o.sum(1, keepdim=True)
    return -(t * share.clamp(1e-3, 1 - 1e-3).log()).mean()


def over_too_many(o, t):
    return ((o - t).half().square() / torch.tensor(7e4, dtype=torch.float16)).sum()


@pytest.mark.parametrize("loss", [over_one_class, over_too_many])
def test_a_loss_that_is_the_same_for_all_answers_is_named(loss):
    model = fresh(lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid()))
    assert told(model, targets=BINARY, loss=loss)[0] == "untrained"
    assert told(model, targets=BINARY, loss=F.binary_cross_entropy) == []


class Bounded(nn.Module):
    """Answers between -1 and 1, or between -2 and 2."""

    def __init__(self, size: float):
        super().__init__()
        self.body, self.size = nn.Linear(64, 1), size

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return h if self.size == 1 else h * self.size


@pytest.mark.parametrize(("size", "faults"), [(1.0, ["target_scale"]), (2.0, [])])
def test_what_is_multiplied_after_an_activation_reaches_further(size, faults):
    assert told(fresh(lambda: Bounded(size)), targets=1.9 * torch.tanh(X[:, :1]), loss=F.mse_loss) == faults


def test_a_batch_without_a_label_has_no_loss_and_no_fault():
    def of_labelled(o, t):
        return F.cross_entropy(o, t, ignore_index=-100, reduction="sum") / (t != -100).sum().clamp(min=1)

    assert told(network(depth=3), targets=torch.full_like(Y, -100), loss=of_labelled) == []


# All with all


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, lambda o, t: (o - t).square().sum()])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_column_of_outputs_against_a_row_of_targets_is_named(loss):
    assert told(fresh(single), targets=X[:, 20], loss=loss)[0] == "target_shape"
    assert told(fresh(single), targets=X[:, 20], loss=lambda o, t: loss(o.squeeze(1), t)) == []
    assert told(fresh(single), targets=X[:, 20:21], loss=loss) == []


class Twins(nn.Module):
    """One body for both of a pair."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, a, b):
        return self.body(a), self.body(b)


@pytest.mark.parametrize("keepdim", [True, False])
def test_distances_of_pairs_against_a_column_of_labels_are_named(keepdim):
    def contrastive(o, t):
        distance = F.pairwise_distance(*o, keepdim=keepdim)
        return ((1 - t) * distance**2 + t * (2 - distance).clamp(min=0) ** 2).mean()

    found = told(fresh(Twins), (X, X.roll(1, 0)), BINARY, contrastive)
    assert found == ([] if keepdim else ["target_shape"])


def test_a_loss_that_asks_for_no_targets_compares_nothing():
    spread = lambda o, _: (o.std(0) - 1).square().mean() + o.mean(0).square().mean()
    assert told(network(depth=3), targets=BINARY, loss=spread) == []


def test_classes_are_not_compared_with_all_outputs():
    assert told(network(depth=3)) == []


# Squashed twice


class Words(nn.Module):
    """A language model whose answers are what `last` makes of the logits."""

    def __init__(self, last):
        super().__init__()
        self.embedding, self.body = nn.Embedding(20, 32), nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 20))
        self.last = last

    def forward(self, x):
        return self.last(self.body(self.embedding(x)))


WORDS = torch.arange(96).view(16, 6) % 20


@pytest.mark.parametrize(
    ("last", "loss", "faults"),
    [
        (lambda h: h.softmax(-1), lambda o, t: F.cross_entropy(o.flatten(0, 1), t.flatten()), ["squashed_twice"]),
        (lambda h: h.softmax(-1).mT, F.cross_entropy, ["squashed_twice"]),
        (lambda h: h.sigmoid(), lambda o, t: F.cross_entropy(o.flatten(0, 1), t.flatten()), ["squashed_twice"]),
        (lambda h: h, lambda o, t: F.cross_entropy(o.flatten(0, 1), t.flatten()), []),
        (lambda h: h.log_softmax(-1), lambda o, t: F.cross_entropy(o.flatten(0, 1), t.flatten()), []),
        (lambda h: h.softmax(-1), lambda o, t: F.nll_loss((o + 1e-9).log().flatten(0, 1), t.flatten()), []),
    ],
)
def test_probabilities_in_any_layout_are_told_from_logits(last, loss, faults):
    assert told(fresh(lambda: Words(last)), WORDS, (WORDS + 1) % 20, loss) == faults


def test_a_softmax_of_one_unit_is_always_1():
    model = fresh(lambda: nn.Sequential(single(), nn.Softmax(1)))
    assert told(model, targets=BINARY, loss=F.binary_cross_entropy)[0] == "squashed_twice"


@pytest.mark.parametrize("squash", [torch.sigmoid, lambda h: h.sigmoid().view(-1, 1)])
def test_a_sigmoid_before_a_loss_of_logits_is_named_and_before_one_of_numbers_not(squash):
    class Squashed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = single()

        def forward(self, x):
            return squash(self.body(x))

    assert told(fresh(Squashed), targets=BINARY, loss=F.binary_cross_entropy_with_logits) == ["squashed_twice"]
    assert told(fresh(Squashed), targets=BINARY, loss=F.mse_loss) == []
    assert told(fresh(Squashed), targets=BINARY, loss=F.binary_cross_entropy) == []


# Not squashed


@pytest.mark.parametrize(
    ("last", "loss", "faults"),
    [
        (lambda h: h, lambda o, t: F.nll_loss(o.flatten(0, 1), t.flatten()), ["unsquashed"]),
        (lambda h: h.mT, F.nll_loss, ["unsquashed"]),
        (lambda h: h.softmax(-1), lambda o, t: F.nll_loss(o.flatten(0, 1), t.flatten()), ["unsquashed"]),
        (lambda h: h.log_softmax(-1), lambda o, t: F.nll_loss(o.flatten(0, 1), t.flatten()), []),
        (lambda h: h, lambda o, t: F.multi_margin_loss(o.flatten(0, 1), t.flatten()), []),
    ],
)
def test_what_is_no_logarithm_is_told_from_what_is(last, loss, faults):
    assert told(fresh(lambda: Words(last)), WORDS, (WORDS + 1) % 20, loss) == faults


def test_the_constant_answer_of_logarithms_of_probabilities_is_one_of_them():
    report = diagnose(nn.Sequential(*network(depth=2).children(), nn.LogSoftmax(1)), X, Y, F.nll_loss)
    assert report.constant_loss == pytest.approx(log(10), rel=0.05)


# Mixed samples


class Reading(nn.Module):
    """The last state of a recurrent layer, or of one that takes the batch for time."""

    def __init__(self, kind=nn.LSTM, batch_first=True, before=None):
        super().__init__()
        self.layer, self.head, self.before = kind(5, 16, batch_first=batch_first), nn.Linear(16, 4), before

    def forward(self, x):
        x = x if self.before is None else self.before(x)
        return self.head(self.layer(x)[0][:, -1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_batch_that_is_taken_for_time_is_named(kind):
    targets = torch.arange(16) % 4
    assert "mixed_samples" in told(fresh(lambda: Reading(kind, batch_first=False)), SEQUENCES, targets)
    assert "mixed_samples" not in told(fresh(lambda: Reading(kind)), SEQUENCES, targets)


def test_a_view_that_should_be_a_transposition_is_named():
    targets = torch.arange(16) % 4
    model = fresh(lambda: Reading(before=lambda x: x.reshape(12, 16, 5).transpose(0, 1)))
    assert "mixed_samples" in told(model, SEQUENCES, targets)


class OverTime(nn.Module):
    """Time first, as recurrent layers take it by default, and an answer at every step."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.GRU(5, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.layer(x)[0])


def test_time_first_is_no_mixture():
    targets = torch.arange(192).view(12, 16) % 4
    loss = lambda o, t: F.cross_entropy(o.flatten(0, 1), t.flatten())
    assert told(fresh(OverTime), SEQUENCES.transpose(0, 1), targets, loss) == []


class Graph(nn.Module):
    """Each node's answer is made of its neighbours'."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 32), nn.Linear(32, 10)
        ring = torch.eye(64) + torch.eye(64).roll(1, 0) + torch.eye(64).roll(-1, 0)
        self.register_buffer("adjacency", ring / 3)

    def forward(self, x):
        return self.adjacency @ self.b((self.adjacency @ self.a(x)).relu())


def test_the_nodes_of_a_graph_and_batch_normalization_are_meant_to_mix():
    assert told(fresh(Graph)) == []
    normalized = lambda: nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    assert told(fresh(normalized)) == []


class Over(nn.Module):
    """A softmax over an axis of (batch, positions, classes)."""

    def __init__(self, axis: int):
        super().__init__()
        self.body, self.axis = nn.Linear(5, 7), axis

    def forward(self, x):
        return self.body(x).log_softmax(self.axis)


@pytest.mark.parametrize(("axis", "faults"), [(0, ["mixed_samples"]), (1, ["mixed_samples"]), (2, []), (-1, [])])
def test_a_softmax_is_over_classes(axis, faults):
    targets = torch.arange(192).view(16, 12) % 7
    loss = lambda o, t: F.nll_loss(o.flatten(0, 1), t.flatten())
    assert told(fresh(lambda: Over(axis)), SEQUENCES, targets, loss) == faults


def test_letters_of_another_number_than_frames_do_not_say_where_the_classes_are():
    letters = torch.arange(64).view(16, 4) % 6 + 1
    lengths = torch.full((16,), 12), torch.full((16,), 4)
    loss = lambda o, t: F.ctc_loss(o.transpose(0, 1), t, *lengths)
    assert told(fresh(lambda: Over(2)), SEQUENCES, letters, loss) == []


@pytest.mark.parametrize(("targets", "faults"), [(BINARY.expand(64, 10), ["squashed_twice"]), (Y, [])])
def test_logarithms_of_probabilities_are_no_logits_of_a_sigmoid_but_of_a_softmax(targets, faults):
    model = nn.Sequential(*network(depth=2).children(), nn.LogSoftmax(1))
    loss = F.binary_cross_entropy_with_logits if faults else F.cross_entropy
    assert told(model, targets=targets, loss=loss) == faults


def test_a_graph_may_be_known_to_the_code_alone():
    near = (normal(64, 64, generator=seeded(0)) > 1.5).float() + torch.eye(64)
    near /= near.sum(1, keepdim=True)

    class Neighbours(nn.Linear):
        def forward(self, x):
            return near @ super().forward(x)

    make = lambda: nn.Sequential(Neighbours(64, 32), nn.ReLU(), Neighbours(32, 10))
    assert told(fresh(make)) == []


# Two modes


def normalized(momentum: float | None) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU(), nn.Linear(32, 10))


@pytest.mark.parametrize(
    ("momentum", "severity"),
    [(0.0, "fault"), (0.001, ""), (0.1, ""), (None, ""), (0.89, ""), (0.9, "warning"), (1.0, "warning")],
)
def test_running_statistics_follow_neither_never_nor_only_the_last_batch(momentum, severity):
    with patch.object(module, "trainability", lambda *_: NOT_MEASURED):
        found = diagnose(fresh(lambda: normalized(momentum)), X, Y).findings
    assert [(each.fault, each.severity) for each in found] == ([("modes_differ", severity)] if severity else [])


@pytest.mark.parametrize(("dropped", "faults"), [(0.5, []), (0.84, []), (0.86, ["modes_differ"])])
def test_dropout_of_nearly_all_is_named(dropped, faults):
    assert [each for each in told(fresh(lambda: half_of(dropped))) if each == "modes_differ"] == faults


class Always(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.body, self.head, self.mode = nn.Linear(64, 64), nn.Linear(64, 10), mode

    def forward(self, x):
        training = self.training if self.mode == "as the model" else True
        return self.head(F.dropout(self.body(x).relu(), 0.2, training=training))


@pytest.mark.parametrize("train", [True, False])
def test_dropout_in_evaluation_is_named_in_either_mode(train):
    assert told(fresh(lambda: Always("always")).train(train)) == ["modes_differ"]
    assert told(fresh(lambda: Always("as the model")).train(train)) == []


@pytest.mark.parametrize(("scale", "faults"), [(1.0, []), (0.3, []), (4.0, []), (8.0, ["modes_differ"])])
def test_statistics_of_other_inputs_are_named_where_they_are_used(scale, faults):
    model = fresh(lambda: normalized(None))
    for _ in range(3):
        model(X)
    model.eval()
    assert [each for each in told(model, scale * X) if each == "modes_differ"] == faults


# Of one kind


def rare(number: int, of: int = 64) -> Tensor:
    return (torch.arange(of) < number).long()


@pytest.mark.parametrize(("number", "faults"), [(4, ["imbalanced"]), (5, ["imbalanced"]), (6, []), (32, []), (0, [])])
def test_more_than_23_of_25_alike_are_named(number, faults):
    assert told(network(depth=3), targets=rare(number)) == faults  # 5 of 64: 92.2 %, 6 of 64: 90.6 %


def test_what_the_loss_weighs_counts_and_not_how_often_it_comes():
    targets = rare(4)
    weights = torch.tensor([4 / 64] + [60 / 64] + 8 * [1.0])
    assert told(network(depth=3), targets=targets, loss=lambda o, t: F.cross_entropy(o, t, weights)) == []
    ignored = torch.where(torch.arange(64) < 40, -100, Y)
    assert told(network(depth=3), targets=ignored) == []
    padded = torch.where(torch.arange(64) < 60, 0, Y)
    assert told(network(depth=3), targets=padded, loss=lambda o, t: F.cross_entropy(o, t, ignore_index=0)) == []


@pytest.mark.parametrize(("number", "faults"), [(1, ["imbalanced"]), (8, [])])
def test_masks_are_answers_in_each_pixel(number, faults):
    masks = torch.zeros(64, 1, 8, 8)
    masks[..., :number] = torch.tensor([1.0] + 7 * [0.0])[:, None] if number == 1 else 1.0
    masks[..., 4:] = 0.0
    model = fresh(lambda: nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)))  # fmt: skip
    assert told(model, targets=masks, loss=F.binary_cross_entropy_with_logits) == faults


def test_one_number_for_nearly_all_is_named_too():
    assert told(fresh(single), targets=rare(3).float()[:, None], loss=F.binary_cross_entropy_with_logits) == [
        "imbalanced"
    ]
    one_hot = F.one_hot(rare(3), 10).float()
    assert told(network(depth=3), targets=one_hot, loss=F.cross_entropy) == ["imbalanced"]
    assert told(network(depth=3), targets=F.one_hot(Y, 10).float(), loss=F.cross_entropy) == []


# Finite today


def test_a_loss_that_breaks_when_answers_are_sure_is_named():
    assert told(fresh(single), targets=BINARY, loss=by_hand) == ["singular"]
    squashed = fresh(lambda: nn.Sequential(single(), nn.Sigmoid()))
    of_probabilities = lambda p, t: -(t * p.log() + (1 - t) * (1 - p).log()).mean()
    assert told(squashed, targets=BINARY, loss=of_probabilities) == ["singular"]
    with_eps = lambda p, t: -(t * (p + 1e-7).log() + (1 - t) * (1 - p + 1e-7).log()).mean()
    assert told(squashed, targets=BINARY, loss=with_eps) == []
    assert told(squashed, targets=BINARY, loss=F.binary_cross_entropy) == []
    assert told(fresh(single), targets=BINARY, loss=F.binary_cross_entropy_with_logits) == []


class Angles(nn.Module):
    """The angle between what is made of a sample and a direction that it may have exactly."""

    def __init__(self, gap: float):
        super().__init__()
        self.body, self.gap = nn.Linear(64, 64), gap

    def forward(self, x):
        h = F.normalize(self.body(x), dim=1)
        cosines = (h * h.detach()).sum(1, keepdim=True) * (1 - self.gap)
        return cosines.clamp(-1 + self.gap, 1 - self.gap).acos() + h.sum(1, keepdim=True)


@pytest.mark.parametrize(("gap", "faults"), [(2e-7, ["singular"]), (1e-5, [])])
def test_an_arc_cosine_next_to_its_end_is_named(gap, faults):
    assert [
        each for each in told(fresh(lambda: Angles(gap)), targets=X[:, :1], loss=F.mse_loss) if each == "singular"
    ] == faults


def test_nothing_of_these_questions_leaves_a_trace():
    model = fresh(lambda: nn.Sequential(default(nn.ReLU, 2), nn.Dropout(0.9)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes, state = [each.training for each in model.modules()], torch.get_rng_state()
    told(model, targets=rare(4))
    assert [each.training for each in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# Meant to be so


def trained(loss) -> nn.Module:
    """A network with a sigmoid at its end that has learnt which digits are odd."""
    model = fresh(lambda: nn.Sequential(single(), nn.Sigmoid()))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss(model(X), BINARY).backward()
        optimizer.step()
    return model


def test_a_sigmoid_that_is_sure_and_right_is_not_saturated_and_one_that_is_wrong_is():
    model = trained(F.binary_cross_entropy)
    assert told(model, targets=BINARY, loss=F.binary_cross_entropy) == []
    assert "saturated" in told(model, targets=1 - BINARY, loss=F.mse_loss)


def test_a_power_iteration_that_moves_in_every_pass_is_not_chaos():
    layers = [each for _ in range(6) for each in (nn.utils.spectral_norm(nn.Linear(64, 64)), nn.ReLU())]
    assert told(fresh(lambda: nn.Sequential(*layers, nn.Linear(64, 10)))) == []


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_recurrence_unrolled_by_hand_is_healthy(cell):
    class Unrolled(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = cell(8, 32), nn.Linear(32, 10)

        def forward(self, x):
            state = x.new_zeros(len(x), 32)
            state = (state, state) if cell is nn.LSTMCell else state
            for piece in x.view(-1, 8, 8).unbind(1):
                state = self.cell(piece, state)
            return self.head(state[0] if isinstance(state, tuple) else state)

    assert told(fresh(Unrolled)) == []


def test_nothing_is_advised_as_a_rate_where_no_gradient_is_left():
    model = network(depth=2)
    zero = torch.optim.SGD(model.parameters(), lr=0.0)
    report = diagnose(model, X, Y, optimizer=zero)
    assert report.verdict == "step_too_small"
    assert "above 0" in report.findings[0].remedy
    done = diagnose(model, X, loss=lambda o: 0 * o.sum(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert done.verdict == "healthy"


class Reader(nn.Module):
    """A transformer that answers at a token of its own, which begins at this size."""

    def __init__(self, size: float):
        super().__init__()
        self.embed, self.token = nn.Linear(8, 32), nn.Parameter(size * torch.randn(1, 1, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=True)
        self.body, self.norm, self.head = nn.TransformerEncoder(layer, 4), nn.LayerNorm(32, 1e-6), nn.Linear(32, 10)

    def forward(self, x):
        tokens = self.embed(x.view(-1, 8, 8))
        return self.head(self.norm(self.body(torch.cat([self.token.expand(len(x), -1, -1), tokens], 1))[:, 0]))


@pytest.mark.parametrize("size", [0.0, 1e-6, 1e-3, 0.02])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_a_token_that_begins_tiny_is_no_explosion(size):
    assert told(fresh(lambda: Reader(size))) == []


def test_what_is_wrong_beside_the_signals_hides_nothing_of_them():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(64, 32), nn.Linear(32, 10)

        def forward(self, x):
            return self.head(self.body(x).relu().detach())

    assert told(fresh(Cut), targets=rare(4)) == ["untrained", "imbalanced"]


def test_a_forward_that_names_what_is_assigned_later_is_read_all_the_same():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = default(nn.ReLU, 2)

        def forward(self, x):
            return later(x) if x.dim() > 9 else self.layers(x)

    assert told(fresh(Late)) == []
    later = nn.Identity()


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_layer_without_units_is_no_error():
    class Empty(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.none = default(nn.ReLU, 2), nn.Linear(64, 0)

        def forward(self, x):
            return self.layers(x) + self.none(x).sum()

    assert "untrained" not in told(fresh(Empty))


# Inputs that no answer reads, and graphs that lead nowhere


class Rounded(nn.Module):
    """Weights that go through sign: with a gradient handed straight through, or as they come."""

    def __init__(self, straight: bool):
        super().__init__()
        self.straight, self.head = straight, nn.Linear(16, 10)
        self.weight = nn.Parameter(0.1 * normal(16, 64, generator=seeded(0)))

    def forward(self, x):
        weight = self.weight.sign()
        if self.straight:
            weight = self.weight + (weight - self.weight).detach()
        return self.head((x @ weight.T / 8).tanh())


@pytest.mark.parametrize(("straight", "faults"), [(False, ["untrained"]), (True, [])])
def test_weights_of_a_hand_written_layer_behind_sign_are_named(straight, faults):
    assert told(fresh(partial(Rounded, straight))) == faults


class Weighing(nn.Module):
    """Attention to time steps, over an axis that is that of time or not."""

    def __init__(self, axis: int):
        super().__init__()
        self.axis, self.score, self.head = axis, nn.Linear(5, 1), nn.Linear(5, 10)

    def forward(self, x):
        return self.head((self.score(x).softmax(self.axis) * x).sum(1))


@pytest.mark.parametrize(("axis", "steps", "faults"), [(-1, 12, ["untrained"]), (1, 12, []), (1, 1, ["untrained"])])
def test_a_softmax_over_one_entry_weighs_nothing(axis, steps, faults):
    assert told(fresh(partial(Weighing, axis)), SEQUENCES[:, :steps], Y[:16]) == faults


class Slope(nn.Module):
    """A function and its derivative."""

    def __init__(self, create_graph: bool):
        super().__init__()
        self.create_graph, self.body = create_graph, nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x):
        x = x.detach().requires_grad_()
        out = self.body(x)
        (slope,) = torch.autograd.grad(out.sum(), x, retain_graph=True, create_graph=self.create_graph)
        return torch.cat([out, slope], 1)


@pytest.mark.parametrize(
    ("create_graph", "asked", "faults"), [(False, 2, ["untrained"]), (True, 2, []), (False, 1, [])]
)
def test_a_derivative_without_its_graph_is_named_where_the_loss_asks_for_it(create_graph, asked, faults):
    def loss(out, t):
        return F.mse_loss(out[:, :asked], t[:, :asked])

    x = torch.linspace(-2, 2, 64)[:, None]
    assert told(fresh(partial(Slope, create_graph)), x, torch.cat([x.sin(), x.cos()], 1), loss) == faults


class LastRow(nn.Module):
    """The last output of a recurrence over rows, or over samples, of which the last column is empty."""

    def __init__(self, batch_first: bool):
        super().__init__()
        self.reads, self.head = nn.LSTM(5, 16, batch_first=batch_first), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.reads(x)[0][:, -1])


@pytest.mark.parametrize(("batch_first", "faults"), [(False, ["blind"]), (True, [])])
def test_answers_that_no_input_moves_are_named(batch_first, faults):
    padded = F.pad(SEQUENCES, (0, 0, 0, 1))
    assert told(fresh(partial(LastRow, batch_first)), padded, Y[:16]) == faults


class Two(nn.Module):
    """Two inputs, of which the second is read, or only carried through a layer; or not at all."""

    def __init__(self, read: bool, layer: bool = True):
        super().__init__()
        self.read, self.first, self.head = read, nn.Linear(32, 32), nn.Linear(32, 10)
        self.second = nn.Linear(8, 32) if layer else None

    def forward(self, x, other):
        h = self.first(x)
        carried = self.second(other) if self.second is not None else 0
        return self.head((h + carried if self.read else h).relu())


@pytest.mark.parametrize(
    ("read", "layer", "alike", "faults"),
    [(False, True, False, ["blind"]), (True, True, False, []), (False, False, False, []), (False, True, True, [])],
)
def test_an_input_whose_layer_hears_nothing_is_named(read, layer, alike, faults):
    """A mask or a label that no layer takes, and an input that is the same for all samples, say nothing."""
    other = normal(1, 8, generator=seeded(1)).expand(64, 8) if alike else normal(64, 8, generator=seeded(1))
    assert told(fresh(partial(Two, read, layer)), (X[:, :32], other)) == faults


class Placed(nn.Module):
    """Codes of places, added along time or along the batch; a random number for each sample; or dropout."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.drop, self.head = kind, nn.Dropout(0.5), nn.Linear(60, 10)
        self.places = nn.Parameter(normal(16, 5, generator=seeded(0)))

    def forward(self, x):
        if self.kind == "noise":
            x = x + torch.randn(len(x), 1, 1)
        if self.kind == "dropout":
            x = self.drop(x)
        codes = self.places[: x.shape[1]] if self.kind == "time" else self.places[: len(x), None]
        return self.head((x + (codes if self.kind in ("time", "batch") else self.places[0])).flatten(1))


@pytest.mark.parametrize(
    ("kind", "faults"), [("batch", ["mixed_samples"]), ("time", []), ("noise", []), ("dropout", [])]
)
def test_places_in_the_batch_are_told_from_places_in_time(kind, faults):
    assert told(fresh(partial(Placed, kind)), SEQUENCES, Y[:16]) == faults


# Targets


@pytest.mark.parametrize(("factor", "faults"), [(1, []), (255, ["target_scale"])])
@pytest.mark.parametrize("inside", [False, True])
def test_masks_of_bytes_are_no_probabilities(factor, faults, inside):
    """Divided in the loss they are."""
    masks = factor * (X[:, :10] > 0).float()

    def loss(out, t):
        return F.binary_cross_entropy_with_logits(out, t / factor if inside else t)

    assert [each for each in told(network(depth=2), X, masks, loss) if each == "target_scale"] == (
        [] if inside else faults
    )


def earned(out, targets):
    """Of actions and what they earned."""
    actions, gains = targets
    return -(out.log_softmax(1)[torch.arange(len(out)), actions] * gains).mean()


@pytest.mark.parametrize(("shape", "faults"), [((64, 1), ["target_shape"]), ((64,), [])])
def test_a_column_among_several_targets_is_named(shape, faults):
    gains = normal(64, generator=seeded(3)).view(shape)
    assert told(network(depth=2), X, (Y, gains), earned) == faults


def test_labels_that_come_round_are_compared_in_another_order():
    """0, 1, 2, 3, 0, 1, … one place further on have the same pairs of equals."""

    def of_pairs(out, t):
        same = (t[:, None] == t).float()
        distance = (out[:, None] - out).square().mean(-1)
        return (same * distance + (1 - same) * (1 - distance).relu()).mean()

    assert told(network(depth=2), X, torch.arange(64) % 4, of_pairs) == []


def test_the_loss_of_one_sample_may_feel_nothing():
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10))
    with torch.no_grad():
        model[-1].bias[int(Y[0])] += 20
    assert "vanishing" not in told(model, X[:1], Y[:1])


# What a finding says


def first(model: nn.Module, inputs=X, targets=Y, loss=None) -> Finding:
    with patch.object(module, "trainability", lambda *_: NOT_MEASURED):
        return diagnose(model, inputs, targets, loss).findings[0]


def test_the_layer_of_too_much_dropout_is_named():
    model = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.1), nn.Linear(64, 64), nn.Dropout(0.9), nn.Linear(64, 10))
    assert (first(model).fault, first(model).layer) == ("modes_differ", "3")


def test_of_a_mixture_no_other_sample_is_expected_to_move():
    found = first(fresh(lambda: LastRow(batch_first=False)), SEQUENCES, Y[:16])
    assert (found.fault, found.expected) == ("mixed_samples", 0)
    assert found.measured > 0


def test_far_targets_are_told_with_the_rate_that_goes_with_them():
    targets = 5000 * normal(64, 1, generator=seeded(5))
    found = first(nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 1)), X, targets)
    std = float(targets.double().std())
    assert f"multiplies the outputs by {std:.2g} instead, and SGD then takes its lr over {std**2:.1g}" in found.remedy


def test_sure_and_right_probabilities_along_the_second_axis_have_a_loss():
    model = nn.Sequential(nn.Conv1d(12, 7, 1), nn.Softmax(1))
    found = first(model, SEQUENCES, torch.randint(7, (16, 5), generator=seeded(2)), F.cross_entropy)
    assert found.fault == "squashed_twice"
    assert "certain and right answers of this softmax have the loss" in found.evidence


class OnEdges(nn.Module):
    """Sums over neighbours, which a list of edges names."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(5, 10)

    def forward(self, x, edges):
        source, target = edges
        return self.read(x + torch.zeros_like(x).index_add(0, target, x[source]))


def test_a_list_of_edges_makes_samples_nodes():
    edges = torch.stack([torch.arange(16), torch.arange(16).roll(1)])
    assert told(fresh(OnEdges), (SEQUENCES[:, 0], edges), Y[:16]) == []


@pytest.mark.parametrize("axis", [1, -1])
def test_a_checkpointed_softmax_is_not_calculated_again_for_the_look_at_its_graph(axis):
    class Checkpointed(Weighing):
        def forward(self, x):
            weighed = checkpoint(lambda x: (self.score(x).softmax(self.axis) * x).sum(1), x, use_reentrant=False)
            return self.head(weighed)

    report = diagnose(fresh(partial(Checkpointed, axis)), SEQUENCES, Y[:16])
    assert [row.label for row in report.signals] == ["score", "softmax()", "head"]
    assert report.verdict == ("healthy" if axis == 1 else "untrained")


@pytest.mark.parametrize(("dtype", "faults"), [(torch.bfloat16, []), (torch.float32, ["mixed_samples"])])
def test_a_place_may_round_otherwise_as_far_as_the_dtype_goes(dtype, faults):
    """By 1/64 in every second place: eight units in the last place of bfloat16, and no rounding in float32."""

    class Rounding(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 10)

        def forward(self, x):
            return self.head(x) * (1 + (torch.arange(len(x)) % 2)[:, None].to(x.dtype) / 64)

    assert told(fresh(Rounding).to(dtype), X[:16].to(dtype), Y[:16]) == faults
