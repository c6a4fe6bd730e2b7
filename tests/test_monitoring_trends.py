"""What only training shows is told within 20 records of its beginning, and a fixed twin is watched in silence."""

import copy
from math import pi

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import Monitor
from d2lstab.datasets import digits
from d2lstab.monitoring.facts import excess_of, look_at_answer
from d2lstab.monitoring.trends import RULES, TRENDS

pytestmark = pytest.mark.slow

DATA = digits()
SGD, Adam = torch.optim.SGD, torch.optim.Adam
SEEDS = pytest.mark.parametrize("seed", range(3))


def network(seed: int = 0, outputs: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))


def batch(step: int, size: int = 64):
    start = step * size % 1280
    return DATA.inputs[start : start + size], DATA.targets[start : start + size]


def told(monitor: Monitor) -> dict[str, int]:
    """The faults that only training shows, and the step in which each was told."""
    return {each.finding.fault: each.step for each in monitor.signals.onsets if each.finding.fault in TRENDS}


def watched(model: nn.Module, optimizer, advance, steps: int) -> Monitor:
    """A run in which advance(step) makes each step and returns its loss."""
    with Monitor(model, optimizer=optimizer, every=1, tell=None) as monitor:
        for step in range(steps):
            monitor.step(advance(step))
    return monitor


def classify(model, optimizer, step: int, size: int = 64) -> torch.Tensor:
    x, y = batch(step, size)
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def scheduled(seed: int, *, per_epoch: bool) -> Monitor:
    """As SRGAN-PyTorch's issue 1: a schedule in epochs is stepped in every batch."""
    model = network(seed)
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.1)

    def advance(step):
        loss = classify(model, optimizer, step)
        if not per_epoch or step % 20 == 19:
            schedule.step()
        return loss

    return watched(model, optimizer, advance, 80 if per_epoch else 30)


@SEEDS
def test_a_schedule_that_is_stepped_per_batch_stands_still(seed):
    assert told(scheduled(seed, per_epoch=False)).get("standing_still", 99) <= 6 + 20  # the rate falls from step 6 on
    assert told(scheduled(seed, per_epoch=True)) == {}


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_a_schedule_that_ends_at_zero_is_none(shape):
    model = network()
    optimizer = SGD(model.parameters(), 0.002)  # so slow that the loss stays high
    fall = {"cosine": lambda k: (1 + torch.tensor(pi * k / 60).cos().item()) / 2, "linear": lambda k: 1 - k / 60}[shape]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, fall)

    def advance(step):
        loss = classify(model, optimizer, step)
        schedule.step()
        return loss

    assert told(watched(model, optimizer, advance, 60)) == {}


def clipped(*, unscaled: bool) -> Monitor:
    model = network()
    optimizer, scaler = SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", init_scale=2.0**20)

    def advance(step):
        x, y = batch(step)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        if unscaled:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update(2.0**20)
        return loss

    return watched(model, optimizer, advance, 30)


def test_clipping_before_unscaling_stands_still():
    assert told(clipped(unscaled=False)).get("standing_still", 99) <= 20
    assert told(clipped(unscaled=True)) == {}


def test_a_rate_of_zero_stands_still():
    model = network()
    optimizer = SGD(model.parameters(), 0.0)
    monitor = watched(model, optimizer, lambda step: classify(model, optimizer, step), 20)
    assert told(monitor).get("standing_still", 99) <= 20
    assert "learning rate is 0" in monitor.signals.onsets[0].finding.evidence


def test_a_run_that_has_converged_does_not():
    model = nn.Linear(4, 1)
    optimizer, x = SGD(model.parameters(), 0.3), torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    y = torch.sin(3 * x.sum(1, keepdim=True))  # which a linear layer cannot

    def advance(step):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    monitor = watched(model, optimizer, advance, 300)
    assert monitor.records[-1]["facts"]["ratio"] < 1e-6 and told(monitor) == {}


@SEEDS
def test_gradients_that_are_never_zeroed_are_told(seed):
    model, twin = network(seed), network(seed)
    for zeroed, here in ((False, model), (True, twin)):
        optimizer = SGD(here.parameters(), 0.01)

        def advance(step, here=here, zeroed=zeroed, optimizer=optimizer):
            x, y = batch(step)
            loss = F.cross_entropy(here(x), y)
            if zeroed:
                optimizer.zero_grad(set_to_none=False)  # between the passes, as some have it
            loss.backward()
            optimizer.step()
            return loss

        found = told(watched(here, optimizer, advance, 30))
        assert found.get("gradients_kept", 99) <= 20 if not zeroed else found == {}


@pytest.mark.parametrize("kind", ["two networks", "a penalty on weights", "unused parameters"])
def test_gradients_that_wait_for_their_own_zeroing_are_not_kept(kind):
    model, other = network(outputs=10), network(1, outputs=10)
    both = nn.ModuleDict({"a": model, "b": other})
    optimizers = [SGD(each.parameters(), 0.01) for each in (model, other)]

    def advance(step):
        x, y = batch(step)
        for place, optimizer in enumerate(optimizers[: 2 if kind == "two networks" else 1]):
            optimizer.zero_grad()
            loss = F.cross_entropy(both["a"](x) + (both["b"](x) if place else 0), y)  # each into both
            if kind == "a penalty on weights":
                loss = loss + 1e-3 * sum(each.square().sum() for each in model.parameters())
            loss.backward()
            optimizer.step()
        return loss

    assert told(watched(both, None if kind == "two networks" else optimizers[0], advance, 10)) == {}


@pytest.mark.parametrize("zeroed", [True, False])
def test_a_critic_is_given_gradients_by_the_other_network_and_zeroed_after(zeroed):
    """As in most loops of two networks: what the generator's loss leaves in the critic goes before its own pass."""
    critic, generator = network(0, outputs=1), nn.Linear(8, 64)
    optimizers = [SGD(each.parameters(), 0.01) for each in (critic, generator)]
    judged = F.binary_cross_entropy_with_logits

    def advance(step):
        real, noise = batch(step)[0], torch.randn(64, 8)
        made = generator(noise)
        if zeroed:
            optimizers[0].zero_grad()
        loss = judged(critic(real), torch.ones(64, 1)) + judged(critic(made.detach()), torch.zeros(64, 1))
        loss.backward()
        optimizers[0].step()
        return loss, made

    with Monitor(critic, optimizer=optimizers[0], every=1, tell=None) as monitor:
        for step in range(10):
            loss, made = advance(step)
            monitor.step(loss)
            optimizers[1].zero_grad()
            judged(critic(made), torch.ones(64, 1)).backward()
            optimizers[1].step()
    assert ("gradients_kept" in told(monitor)) is not zeroed


def accumulated(seed: int, parts: int, *, divided: bool) -> Monitor:
    model = network(seed)
    optimizer = SGD(model.parameters(), 0.01)

    def advance(step):
        optimizer.zero_grad()
        for x, y in zip(*(each.chunk(parts) for each in batch(step, 128))):
            loss = F.cross_entropy(model(x), y)
            (loss / parts if divided else loss).backward()
        optimizer.step()
        return loss

    return watched(model, optimizer, advance, 20)


@SEEDS
@pytest.mark.parametrize("parts", [4, 16])
def test_accumulation_that_is_not_divided_is_told(parts, seed):
    assert told(accumulated(seed, parts, divided=False)).get("accumulation", 99) <= 20
    assert told(accumulated(seed, parts, divided=True)) == {}


def test_no_mean_cross_entropy_has_a_larger_gradient():
    for scale in (0.1, 1.0, 100.0):  # from even answers to ones that are sure and wrong
        logits = (scale * torch.randn(50, 10, generator=torch.Generator().manual_seed(0))).requires_grad_()
        F.cross_entropy(logits, torch.arange(50) % 10).backward()
        assert 0 < excess_of([look_at_answer(logits.grad)], 1.0) <= 1 + 1e-5
    logits = torch.zeros(1, 2).requires_grad_()
    F.cross_entropy(1e3 * logits + torch.tensor([50.0, 0.0]), torch.tensor([1])).backward()
    assert excess_of([look_at_answer(logits.grad / 1e3)], 1.0) == pytest.approx(1)  # by hand: (1, −1) over √2
    squares = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    squares.square().mean().backward()
    assert not excess_of([look_at_answer(squares.grad)], 1.0) >= 0


def embedded(seed: int, *, spread: bool) -> Monitor:
    """Pictures are drawn together, as to the likes of them; nothing but a term for the variance keeps them apart."""
    model = network(seed, outputs=8)
    with torch.no_grad():
        model[4].weight.mul_(8)
    optimizer = Adam(model.parameters(), 0.01)

    def advance(step):
        x, _ = batch(step)
        optimizer.zero_grad()
        one = model(x)
        loss = 10 * F.mse_loss(one, one.roll(1, 0)) + (one.mean(0) - 1).square().mean()
        if spread:
            loss = loss + 20 * F.relu(1 - one.var(0).add(1e-4).sqrt()).mean()
        loss.backward()
        optimizer.step()
        return loss

    return watched(model, optimizer, advance, 120)


@SEEDS
def test_embeddings_that_run_into_one_point_are_told(seed):
    monitor = embedded(seed, spread=False)
    signals = monitor.signals
    spread = signals.variation[:, -1] * signals.moment[:, -1].sqrt()
    begin = int((spread < 0.06 * spread.max()).nonzero()[0]) + 1
    assert told(monitor).get("collapsed", 999) <= begin + 20
    assert "collapsed" not in told(embedded(seed, spread=True))


class Autoencoder(nn.Module):
    """A variational one."""

    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder, self.mean, self.spread = nn.Linear(64, 32), nn.Linear(32, 4), nn.Linear(32, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, x):
        h = torch.tanh(self.encoder(x))
        mean, spread = self.mean(h), self.spread(h)
        code = mean + torch.randn_like(mean) * (spread / 2).exp()
        return self.decoder(code), mean, spread


def encoded(seed: int, weight: float) -> Monitor:
    model = Autoencoder(seed)
    optimizer = Adam(model.parameters(), 0.01)

    def advance(step):
        x, _ = batch(step)
        optimizer.zero_grad()
        y, mean, spread = model(x)
        divergence = (mean.square() + spread.exp() - 1 - spread).sum(1).mean() / 2
        loss = F.mse_loss(y, x, reduction="sum") / len(x) + weight * divergence
        loss.backward()
        optimizer.step()
        return loss

    with torch.random.fork_rng():
        return watched(model, optimizer, advance, 120)


@SEEDS
def test_a_posterior_that_collapses_is_told(seed):
    monitor = encoded(seed, weight=100.0)
    signals = monitor.signals
    moment = signals.moment[:, signals.layers.index("mean")]
    begin = int((moment < 0.01).nonzero()[0]) + 1
    assert told(monitor).get("posterior_collapse", 999) <= begin + 20
    assert told(encoded(seed, weight=0.1)) == {}


def bootstrapped(seed: int, follow: float) -> Monitor:
    """Values of states that are worth their reward and the best of the next; as ReAgent's issue 189."""
    generator = torch.Generator().manual_seed(seed)
    states, nexts = 2 * torch.randn(2, 256, 8, generator=generator)
    actions, rewards = torch.randint(4, (256,), generator=generator), torch.tanh(states[:, 0])
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    target, optimizer = copy.deepcopy(model), Adam(model.parameters(), 0.01)

    def advance(step):
        with torch.no_grad():
            for mine, its in zip(target.parameters(), model.parameters()):
                mine.lerp_(its, follow)
            chosen = torch.randint(256, (32,), generator=generator)
            y = rewards[chosen] + 0.95 * target(nexts[chosen]).max(1).values
        optimizer.zero_grad()
        loss = F.mse_loss(model(states[chosen]).gather(1, actions[chosen, None])[:, 0], y)
        loss.backward()
        optimizer.step()
        return loss

    return watched(model, optimizer, advance, 120)


@SEEDS
def test_targets_that_run_away_are_told(seed):
    monitor = bootstrapped(seed, follow=0.2)
    begin = int((monitor.signals.moment[:, -1].sqrt() > 3).nonzero()[0]) + 1  # larger than any in the fixed twin
    assert told(monitor).get("runaway", 999) <= begin + 20
    assert told(bootstrapped(seed, follow=0.005)) == {}


@pytest.mark.parametrize("fixed", [False, True])
def test_a_loss_that_spikes_is_told_with_what_moved_first(fixed):
    model = network()
    optimizer = SGD(model.parameters(), 0.1)

    def advance(step):
        if step == 40 and not fixed:
            with torch.no_grad():
                model[4].weight.mul_(-3)
        return classify(model, optimizer, step)

    monitor = watched(model, optimizer, advance, 60)
    if fixed:
        assert told(monitor) == {}
    else:
        assert told(monitor).get("loss_spike") == 41
        finding = next(each.finding for each in monitor.signals.onsets if each.finding.fault == "loss_spike")
        assert finding.layer == "4" and "first to move" in finding.evidence


def adversaries(seed: int, *, saturating: bool) -> Monitor:
    torch.manual_seed(seed)
    both = nn.ModuleDict(
        {
            "generator": nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 8)),
            "critic": nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1)),
        }
    )
    slow, quick = SGD(both["generator"].parameters(), 1e-3), Adam(both["critic"].parameters(), 3e-2)
    generator = torch.Generator().manual_seed(seed)
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)

    def advance(step):
        real = 3 + torch.randn(64, 8, generator=generator)
        made = both["generator"](torch.randn(64, 4, generator=generator))
        quick.zero_grad()
        loss = F.binary_cross_entropy_with_logits(both["critic"](real), ones)
        (loss + F.binary_cross_entropy_with_logits(both["critic"](made.detach()), zeros)).backward()
        quick.step()
        slow.zero_grad()
        answer = both["critic"](made)
        won = F.binary_cross_entropy_with_logits(answer, zeros if saturating else ones)
        (-won if saturating else won).backward()
        slow.step()
        return won

    return watched(both, None, advance, 100)


@SEEDS
def test_a_discriminator_far_ahead_is_told_only_where_gradient_is_lost(seed):
    monitor = adversaries(seed, saturating=True)
    gradients = [each["facts"]["parts"]["generator"][0] for each in monitor.records]
    begin = next(place for place, each in enumerate(gradients, 1) if each < 0.01 * max(gradients))
    assert told(monitor).get("adversary_ahead", 999) <= begin + 20
    assert "adversary_ahead" not in told(adversaries(seed, saturating=False))


class Reader(nn.Module):
    """One block of attention that is to find the token before; queries and keys normalized if asked for."""

    def __init__(self, *, normalized: bool):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.place = nn.Embedding(16, 32), nn.Parameter(torch.randn(16, 32))
        self.norm, self.qkv, self.out, self.head = (
            nn.LayerNorm(32),
            nn.Linear(32, 96),
            nn.Linear(32, 32),
            nn.Linear(32, 16),
        )
        self.normalized = normalized

    def forward(self, tokens):
        h = self.embedding(tokens) + self.place
        q, k, v = (each.unflatten(-1, (2, 16)).transpose(1, 2) for each in self.qkv(self.norm(h)).chunk(3, -1))
        if self.normalized:
            q, k = (4 * F.normalize(each, dim=-1) for each in (q, k))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.head(h + self.out(mixed.transpose(1, 2).flatten(2)))


def read(*, normalized: bool) -> Monitor:
    model = Reader(normalized=normalized)
    optimizer, generator = Adam(model.parameters(), 0.3), torch.Generator().manual_seed(0)

    def advance(step):
        tokens = torch.randint(16, (64, 16), generator=generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(1, 1).flatten())
        loss.backward()
        optimizer.step()
        return loss

    return watched(model, optimizer, advance, 30)


def test_attention_whose_entropy_collapses_is_told():
    monitor = read(normalized=False)
    entropy = monitor.signals.entropy[:, 0]
    begin = int((entropy < 0.2).nonzero()[0]) + 1
    assert told(monitor).get("attention_collapse", 99) <= begin + 20
    assert "attention_collapse" not in told(read(normalized=True))


def groups(second: float) -> Monitor:
    model = network()
    optimizer = SGD([{"params": model[0].parameters()}, {"params": model[2:].parameters(), "lr": second}], 0.1)
    return watched(model, optimizer, lambda step: classify(model, optimizer, step), 20)


def test_groups_whose_steps_differ_a_thousandfold_are_told():
    monitor = groups(1e-5)
    assert told(monitor).get("uneven_groups", 99) <= 20
    assert "group 0 by" in monitor.signals.onsets[0].finding.evidence
    assert told(groups(0.01)) == {} == told(groups(0.0))  # a group that rests was meant to


def test_what_the_rules_name_is_explained_and_each_rule_names_itself():
    assert {rule.__name__ for rule in RULES} == TRENDS.keys()


def test_records_of_an_older_release_are_no_evidence():
    monitor = scheduled(0, per_epoch=True)
    state = monitor.state_dict()
    for each in state["records"]:
        del each["facts"], each["attention"]
    other = Monitor(network())
    other.load_state_dict(state)
    assert len(other.signals) == len(monitor.signals) and other.signals.entropy.shape == (80, 0)


@pytest.mark.parametrize("optimizer", [lambda p: SGD(p, 0.1, momentum=0.9), lambda p: Adam(p, 1e-3)])
@SEEDS
def test_healthy_runs_are_watched_in_silence(optimizer, seed):
    model = network(seed)
    made = optimizer(model.parameters())
    assert told(watched(model, made, lambda step: classify(model, made, step), 150)) == {}
