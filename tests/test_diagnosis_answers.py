"""What is told from outputs: constants in their place, nearness that depth destroys, and what no loss can want."""

from dataclasses import dataclass
from math import isnan, log

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import diagnose, he_normal_, mlp, seeded, xavier_normal_
from d2lstab.borrowing import borrowed
from d2lstab.diagnosis.answers import each_tensor
from d2lstab.diagnosis.diagnose import gathered
from d2lstab.diagnosis.evidence import Evidence
from d2lstab.diagnosis.look import examine
from d2lstab.diagnosis.subject import subject_of
from d2lstab.randomness import normal
from tests.test_diagnosis import X, Y, default, fresh, large_head, normalized, pictures

pytestmark = pytest.mark.slow


@dataclass
class Answer:
    scores: torch.Tensor
    note: str = ""


class Wrapped(nn.Module):
    """A network whose scores come in a container."""

    def __init__(self, net: nn.Module, form):
        super().__init__()
        self.net, self.form = net, form

    def forward(self, x):
        return self.form(self.net(x))


FORMS = {
    "tuple": (lambda scores: (scores, 1), lambda out: out[0]),
    "dict": (lambda scores: {"scores": scores}, lambda out: out["scores"]),
    "dataclass": (lambda scores: Answer(scores), lambda out: out.scores),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_that_are_too_large_are_found_in_any_container(form):
    put, take = FORMS[form]
    report = diagnose(Wrapped(large_head(), put), X, Y, lambda out, t: F.cross_entropy(take(out), t))
    assert report.verdict == "output_scale"


@pytest.mark.parametrize("form", FORMS)
def test_each_tensor_keeps_the_container_and_leaves_the_original(form):
    put, take = FORMS[form]
    given = put(torch.ones(3))
    made = each_tensor(lambda each: each * 2, given)
    assert type(made) is type(given)
    assert take(made).tolist() == [2, 2, 2]
    assert take(given).tolist() == [1, 1, 1]


def evidence_of(model: nn.Module, inputs=X, targets=Y) -> tuple[Evidence, float]:
    subject = subject_of(model, inputs, targets, None, None)
    with borrowed(subject.model):
        evidence = Evidence(subject, examine(subject))
        return evidence, evidence.strayed


def test_a_linear_map_without_bias_keeps_what_is_near_as_near_as_it_was():
    _, strayed = evidence_of(nn.Sequential(nn.Linear(64, 10, bias=False)), X - X.mean(0))
    assert strayed == pytest.approx(1, rel=0.15)  # 1 on average over batches; the step goes to the next sample


def test_nearness_is_lost_with_depth_on_the_chaotic_side_alone():
    def strayed(gain: float, depth: int) -> float:
        def draw(weight, *, generator):
            return he_normal_(weight, gain=gain, generator=generator)

        return evidence_of(mlp([64] + [128] * depth + [10], torch.tanh, initializer=draw))[1]

    assert strayed(1.0, 20) < 1.5
    assert strayed(3.0, 5) < strayed(3.0, 10) < strayed(3.0, 15)
    assert strayed(3.0, 15) > 30


def test_nearness_is_not_measured_where_inputs_are_whole_numbers():
    model = fresh(lambda: nn.Sequential(nn.Embedding(9, 8), nn.Flatten(), nn.Linear(32, 10)))
    assert isnan(evidence_of(model, torch.arange(256).reshape(64, 4) % 9)[1])


@pytest.mark.parametrize("gain", [3.0, 4.0, 6.0])
def test_a_deep_network_that_only_learns_by_heart_is_not_healthy(gain):
    def draw(weight, *, generator):
        return xavier_normal_(weight, generator=generator).mul_(gain)

    assert diagnose(mlp([64] + [128] * 12 + [10], torch.tanh, initializer=draw), X, Y).verdict != "healthy"


SQUASHED = {
    "softmax before cross-entropy": (lambda: nn.Softmax(1), F.cross_entropy, Y, 10, "squashed_twice"),
    "softmax over the batch": (lambda: nn.Softmax(0), F.cross_entropy, Y, 10, "mixed_samples"),
    "softmax before the log of it": (lambda: nn.Softmax(1), lambda p, t: F.nll_loss(p.log(), t), Y, 10, "healthy"),
    "sigmoid before a loss of logits": (
        nn.Sigmoid, F.binary_cross_entropy_with_logits, (Y % 2).float()[:, None], 1, "squashed_twice",
    ),
    "sigmoid before a loss of probabilities": (nn.Sigmoid, F.binary_cross_entropy, (Y % 2).float()[:, None], 1, "healthy"),
}  # fmt: skip


@pytest.mark.parametrize("name", SQUASHED)
def test_probabilities_are_a_fault_for_a_loss_that_takes_logits_and_for_no_other(name):
    last, loss, targets, outputs, verdict = SQUASHED[name]
    model = fresh(lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, outputs), last()))
    report = diagnose(model, X, targets, loss)
    assert report.verdict == verdict
    if verdict == "squashed_twice":
        assert report.repaired().after.verdict == "healthy"


def test_the_least_loss_of_a_softmax_is_in_the_evidence():
    model = fresh(lambda: nn.Sequential(nn.Linear(64, 10), nn.Softmax(1)))
    least = log(torch.e + 9) - 1  # the cross-entropy of the right class at 1 and nine others at 0
    assert diagnose(model, X, Y, F.cross_entropy).findings[0].measured == pytest.approx(least, rel=1e-4)


def test_weights_that_are_drawn_afresh_come_from_the_seed():
    report = diagnose(fresh(lambda: default(nn.Sigmoid, 5)), X, Y)
    first, again, other = (report.repaired(seed=seed).model.state_dict() for seed in (1, 1, 2))
    same = [torch.equal(first[name], again[name]) for name in first]
    assert all(same)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_group_normalization_in_its_place_treats_every_sample_as_it_does_alone():
    model = diagnose(fresh(normalized), pictures(1), Y[:1], F.cross_entropy).repaired().model
    batch = pictures(4)
    alone = torch.cat([model(each[None]) for each in batch])
    torch.testing.assert_close(model(batch), alone)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in model.modules())


def test_a_deep_network_of_sequences_is_repaired_too():
    model = fresh(lambda: default(nn.Sigmoid, 20, width=16))
    sequences, targets = normal(32, 12, 64, generator=seeded(0)), torch.arange(384).view(32, 12) % 10
    repair = diagnose(model, sequences, targets).repaired()
    assert (repair.before.verdict, repair.after.verdict) == ("vanishing", "healthy")


def test_targets_far_too_large_come_with_the_rate_that_scaled_outputs_need():
    model = fresh(lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)))
    remedy = diagnose(model, X, 1e4 * X[:, 20:21], F.mse_loss).findings[0].remedy
    assert "lr over" in remedy


def test_a_single_entry_that_is_not_finite_is_flagged_in_the_table():
    class Spoiled(nn.Module):
        def forward(self, x):
            x = x.clone()
            x[3, 2] = torch.inf
            return x

    report = diagnose(nn.Sequential(nn.Linear(64, 8), Spoiled(), nn.Linear(8, 10)), X, Y)
    html = report._repr_html_()
    assert "1 (not finite)" in html
    assert "0 (not finite)" not in html


def test_the_same_evidence_is_gathered_whatever_the_loss_returns_for_constants():
    def picky(out, targets):
        if not out.requires_grad:
            raise RuntimeError("only what was computed")
        return F.cross_entropy(out, targets)

    subject = subject_of(fresh(lambda: default(nn.ReLU, 2)), X, Y, picky, None)
    with borrowed(subject.model):
        assert isnan(gathered(subject).chance)
