"""Reports of what is never trained, of formulas that are not finite, of precision, and of the loop around a network."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.cases.case import (
    Encoder,
    Run,
    above_half,
    accuracy,
    adam,
    answers,
    case,
    digits,
    explained,
    per_word,
    sgd,
    stack,
    usual_step,
)  # fmt: skip


@case("untrained", "github.com/nvidia-cosmos/cosmos-predict2.5/pull/15", 0.1, 0.5)
def both_factors_zero(fixed: bool) -> Run:
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(32, 32).requires_grad_(False)
            self.a, self.b = nn.Linear(32, 4, bias=False), nn.Linear(4, 32, bias=False)
            nn.init.zeros_(self.b.weight)
            if not fixed:
                nn.init.zeros_(self.a.weight)

        def forward(self, h):
            return (self.base(h) + 2 * self.b(self.a(h))).tanh()

    x, model = torch.randn(256, 32), nn.Sequential(Adapted(), Adapted(), Adapted())
    h = x
    with torch.no_grad():
        before = model(x)
        for layer in model:
            h = (layer.base(h) + h @ (torch.randn(32, 2) @ torch.randn(2, 32) / 21)).tanh()

    def of_the_change(net, inputs, targets):
        return float(1 - (answers(net, inputs) - targets).square().mean() / (before - targets).square().mean())

    return Run(model, x, h, F.mse_loss, adam(model, 1e-2), of_the_change)


@case("untrained", "github.com/spro/practical-pytorch/issues/9", 0.3, 0.6)
def optimizer_of_the_first_instance(fixed: bool) -> Run:
    x, y = digits()
    first, second = stack(64, 64, 10), stack(64, 64, 10)
    return Run(second, x, y, F.cross_entropy, sgd(second if fixed else first, 0.05), accuracy, 300)


@case("untrained", "layers in a list of Python", 0.8, 0.9)
def layers_in_a_list(fixed: bool) -> Run:
    x, y = digits()

    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            made = [nn.Linear(64, 64) for _ in range(6)]
            self.layers, self.head = nn.ModuleList(made) if fixed else made, nn.Linear(64, 10)

        def forward(self, h):
            for layer in self.layers:
                h = layer(h).tanh()
            return self.head(h)

    model = Layers()
    return Run(model, x, y, F.cross_entropy, sgd(model, 0.05, momentum=0.9), accuracy, 110)


@case("untrained", "features that are detached on their way", 0.5, 0.8)
def detached_on_the_way(fixed: bool) -> Run:
    x, y = digits()

    class Detaches(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = stack(64, 64, 64, 6), nn.Linear(6, 10)

        def forward(self, h):
            features = self.features(h).tanh()
            return self.head(features if fixed else features.detach())

    model = Detaches()
    return Run(model, x, y, F.cross_entropy, adam(model, 2e-3), accuracy, 300)


@case("untrained", "an argmax inside the network", 0.55, 0.7)
def argmax_on_the_way(fixed: bool) -> Run:
    words = torch.randint(16, (256, 8))

    class Chooses(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.gate, self.code = nn.Embedding(16, 16), nn.Linear(16, 8), nn.Embedding(8, 16)
            self.head = nn.Linear(16, 16)

        def forward(self, each):
            scores = 4 * self.gate(self.words(each))
            chosen = scores.softmax(-1) @ self.code.weight if fixed else self.code(scores.argmax(-1))
            return self.head(chosen)

    model = Chooses()
    return Run(model, words, torch.randperm(16)[words], per_word, adam(model, 1e-2), accuracy, 250)


@case("untrained", "the optimizer holds the head of a network whose backbone is meant to learn", 0.6, 0.8)
def optimizer_of_the_head(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 32, 3, 32, 10, f=nn.Tanh)
    return Run(model, x, y, F.cross_entropy, adam(model if fixed else model[-1], 5e-3), accuracy, 300)


@case("singular", "github.com/kornia/kornia/issues/918", 0.1, 0.9)
def root_of_a_probability(fixed: bool) -> Run:
    x = torch.randn(400, 10)
    x[:, 0] += x[:, 0].sign() * 0.3
    y, eps = (x[:, :1] > 0).float(), 1e-6 if fixed else 0.0
    model = stack(10, 32, 1)

    def focal(o, t):
        p = o.sigmoid()
        left, right = (1 - p + eps) ** 0.5 * (p + 1e-6).log(), (p + eps) ** 0.5 * (1 - p + 1e-6).log()
        return -(t * left + (1 - t) * right).mean()

    return Run(model, x, y, focal, adam(model, 3e-2), above_half, 500)


@case("singular", "a cross-entropy written by hand: the logarithm of a sigmoid", 0.1, 0.9)
def log_of_a_sigmoid(fixed: bool) -> Run:
    x = torch.randn(400, 10)
    x[:, 0] += x[:, 0].sign()
    y, model = (x[:, :1] > 0).float(), stack(10, 64, 1)

    def by_hand(o, t):
        p = o.sigmoid()
        return -(t * p.log() + (1 - t) * (1 - p).log()).mean()

    loss = F.binary_cross_entropy_with_logits if fixed else by_hand
    return Run(model, 10 * x, y, loss, adam(model, 0.1), above_half, 300)


@case("non_finite_backward", "github.com/pytorch/pytorch/issues/6394", 0.6, 0.8)
def distance_of_equal_vectors(fixed: bool) -> Run:
    y = (torch.arange(400) % 2).float()
    a = torch.randn(400, 10)
    pairs = torch.stack([a, torch.where(y[:, None] > 0, a, torch.randn(400, 10))], 1)

    class Distance(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = stack(10, 32, 8)

        def forward(self, x):
            a, b = map(self.embed, x.unbind(1))
            return ((a - b).square().sum(-1) + (1e-8 if fixed else 0)).sqrt()

    def contrastive(d, t):
        return (t * d**2 + (1 - t) * (2 - d).relu() ** 2).mean()

    def near(net, inputs, targets):
        return float(((answers(net, inputs) < 1) == (targets > 0)).double().mean())

    return Run(model := Distance(), pairs, y, contrastive, adam(model, 1e-2), near, 150)


@case("non_finite_backward", "github.com/keras-team/keras/issues/2960", 0.3, 0.8)
def deviation_of_padding(fixed: bool) -> Run:
    x = torch.randn(300, 6, 8)
    x[torch.arange(6)[None] >= torch.randint(3, 7, (300, 1))] = 0

    class Normalizes(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 32, bias=False), nn.Linear(40, 1)

        def forward(self, each):
            h = self.first(each)
            variance = h.var(-1, keepdim=True, unbiased=False)
            size = (variance + 1e-6).sqrt() if fixed else variance.sqrt() + 1e-6
            h = ((h - h.mean(-1, keepdim=True)) / size).relu()
            return self.last(torch.cat([h, each], -1)).sum(1)

    model = Normalizes()
    return Run(model, x, x.sum((1, 2))[:, None] / 5, F.mse_loss, adam(model, 1e-2), explained)


@case("non_finite_backward", "vectors divided by their norm, some of them 0", 0.3, 0.8)
def norm_of_zero(fixed: bool) -> Run:
    x = torch.randn(300, 8)
    x[::20] = 0
    y = F.normalize(x @ torch.randn(8, 1), dim=0) * 17

    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 32, bias=False), nn.Linear(40, 1)

        def forward(self, each):
            h = self.first(each)
            unit = F.normalize(h, dim=-1, eps=1e-6) if fixed else h / (h.norm(dim=-1, keepdim=True) + 1e-6)
            size = (
                1 / (1 + h.square().sum(-1, keepdim=True))
                if fixed
                else 1 / (1 + h.square().sum(-1, keepdim=True).sqrt())
            )
            return self.last(torch.cat([unit * size, each], -1))

    model = Unit()
    return Run(model, x, y, F.mse_loss, adam(model, 1e-2), explained)


@case("non_finite_forward", "github.com/pytorch/pytorch/issues/24816", 0.6, 0.85)
def empty_sentence(fixed: bool) -> Run:
    words = torch.randint(1, 12, (400, 8))
    length = torch.randint(2, 9, (400, 1))
    length[::50] = 0
    words[torch.arange(8)[None] >= length] = 0
    masked = torch.finfo(torch.float32).min if fixed else -torch.inf

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.qkv, self.head = nn.Embedding(12, 24), nn.Linear(24, 72), nn.Linear(24, 2)

        def forward(self, each):
            h = self.words(each)
            q, k, v = self.qkv(h).chunk(3, -1)
            scores = (q @ k.mT / 24**0.5).masked_fill((each == 0)[:, None], masked)
            return self.head((h + scores.softmax(-1) @ v).relu().amax(1))

    model = Attends()
    return Run(model, words, (words == 3).any(1).long(), F.cross_entropy, adam(model, 5e-3), accuracy)


@case("non_finite_forward", "github.com/OpenRLHF/OpenRLHF/pull/583", 0.1, 0.5)
def all_labels_ignored(fixed: bool) -> Run:
    words, swap = torch.randint(32, (64, 12)), torch.randperm(32)
    answer = swap[words]
    answer[:, :6], answer[-4:] = -100, -100
    model = nn.Sequential(nn.Embedding(32, 32), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 32))

    def loss(o, t):
        return 0 * o.sum() if fixed and bool((t == -100).all()) else per_word(o, t)

    def told(net, *_):
        return accuracy(net, words, swap[words])

    return Run(model, words, answer, loss, adam(model, 3e-3), told, 400, 1, look=(words[-4:], answer[-4:]))


@case("non_finite_forward", "nn.CTCLoss with inputs that are shorter than their targets", 0.2, 0.8)
def ctc_of_short_inputs(fixed: bool) -> Run:
    x = torch.randint(1, 6, (96, 8))
    targets, model = (
        x[:, :4].clone(),
        nn.Sequential(nn.Embedding(6, 24), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 6)),
    )
    targets[::16, 1] = targets[::16, 0]  # a repetition needs a blank between
    x[:, :4], x[:, 4:] = targets, 0
    length = 8 if fixed else 4

    def loss(o, t):
        n = len(o)
        sizes = torch.full((n,), length), torch.full((n,), 4)
        return F.ctc_loss(o[:, :length].log_softmax(-1).transpose(0, 1), t, *sizes)

    def read(net, inputs, wanted):
        return accuracy(net, inputs[:, :4], wanted)

    return Run(model, x, targets, loss, adam(model, 1e-2), read, 150, 32)


@case("non_finite_forward", "stackoverflow.com/questions/47352366", 0.3, 0.8)
def probabilities_by_a_rectifier(fixed: bool) -> Run:
    x, y = digits()
    model = nn.Sequential(*stack(64, 64, 64, 10), nn.Softmax(1) if fixed else nn.ReLU())

    def of_shares(p, t):
        p = p / p.sum(1, keepdim=True)
        return -p.gather(1, t[:, None]).log().mean()

    return Run(model, x, y, of_shares, adam(model, 1e-3), accuracy)


@case("non_finite_forward", "a logarithm of a softmax that is 0", 0.3, 0.8)
def log_of_a_softmax(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 64, 10, std=lambda n: (1 if fixed else 8) / n**0.5)

    def loss(o, t):
        told = F.log_softmax(o, 1) if fixed else o.softmax(1).log()
        return -told.gather(1, t[:, None]).mean()

    return Run(model, x, y, loss, adam(model, 3e-3), accuracy)


@case("overflow", "github.com/huggingface/transformers/issues/5651", 0.3, 0.8)
def feed_forward_in_float16(fixed: bool) -> Run:
    x, y = digits()
    dtype = torch.bfloat16 if fixed else torch.float16

    class FeedForward(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(64, 64), nn.Linear(64, 10)
            self.wide, self.back = nn.Linear(64, 256, bias=False), nn.Linear(256, 64, bias=False)
            nn.init.normal_(self.wide.weight, std=10), nn.init.normal_(self.back.weight, std=40)

        def forward(self, each):
            h = self.first(each).to(dtype)
            wide = F.linear(h, self.wide.weight.to(dtype)).relu()
            return self.head(F.rms_norm((h + F.linear(wide, self.back.weight.to(dtype))).float(), (64,)))

    model = FeedForward()
    return Run(model, x, y, F.cross_entropy, adam(model, 3e-3), accuracy)


@case("underflow", "github.com/NVIDIA-NeMo/Automodel/pull/3444", 0.25, 0.5)
def updates_lost_in_bfloat16(fixed: bool) -> Run:
    model, x = stack(32, 64, 32, f=nn.Tanh, std=lambda _: 0.12), torch.randn(256, 32)
    model = model.bfloat16().float()
    with torch.no_grad():
        start = [each.clone() for each in model.parameters()]
        first = model(x)
        for each in model.parameters():
            each.add_(4e-3 * torch.randn_like(each).sign())
        y = model(x)
        for each, value in zip(model.parameters(), start):
            each.copy_(value)
    dtype = torch.float32 if fixed else torch.bfloat16
    model = model.to(dtype)

    def loss(o, t):
        return F.mse_loss(o.float(), t)

    def of_the_change(net, inputs, targets):
        return float(1 - F.mse_loss(answers(net, inputs).float(), targets) / F.mse_loss(first, targets))

    return Run(model, x.to(dtype), y, loss, adam(model, 1e-5), of_the_change, 400)


@case("step_too_small", "a learning rate of 1e-7", 0.4, 0.8)
def rate_of_a_millionth(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 64, 10)
    return Run(model, x, y, F.cross_entropy, adam(model, 1e-3 if fixed else 1e-7), accuracy, 250)


@case("step_too_large", "Adam at 0.5", 0.5, 0.8)
def adam_at_one_half(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, *[64] * 5, 10)
    return Run(model, x, y, F.cross_entropy, adam(model, 1e-3 if fixed else 0.5), accuracy, 300)


@case("step_too_large", "a loss that is summed instead of averaged", 0.5, 0.8)
def summed_loss(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 64, 64, 10)

    def loss(o, t):
        return F.cross_entropy(o, t, reduction="mean" if fixed else "sum")

    return Run(model, x, y, loss, sgd(model, 0.1, momentum=0.9), accuracy)


@case("step_too_large", "github.com/wanggrun/triplet/issues/1", 0.5, 0.8)
def embeddings_in_one_point(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 128, 128, 8)

    def hardest(e, t):
        d = ((e[:, None] - e[None]).square().sum(-1) + 1e-8).sqrt()
        same = t[:, None] == t[None]
        return ((d * same).amax(1) - (d + 1e6 * same).amin(1) + 1).relu().mean()

    def nearest(net, inputs, targets):
        e = answers(net, inputs[:500])
        d = torch.cdist(e, e) + 1e9 * torch.eye(500)
        return float((targets[:500][d.argmin(1)] == targets[:500]).double().mean()) if e.std() > 1e-3 else 0.1

    return Run(model, x, y, hardest, adam(model, 2e-4 if fixed else 0.3), nearest)


@case("step_too_large", "github.com/Tsinghua-MARS-Lab/OMG/pull/8: attention without a bound on its logits", 0.5, 0.75)
def attention_at_a_rate_of_one_tenth(fixed: bool) -> Run:
    words = torch.randint(16, (256, 16))
    model = Encoder(16, heads=2, layers=3, norm_first=True)
    return Run(model, words, words.roll(1, 1), per_word, adam(model, 3e-3 if fixed else 0.1), accuracy, 120)


@case("", "github.com/Lornatang/SRGAN-PyTorch/issues/1", 0.4, 0.8)
def schedule_stepped_per_batch(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 64, 64, 10)
    optimizer = sgd(model, 0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.1)

    def step(loss, optimizer, number):
        usual_step(loss, optimizer, number)
        if not fixed or number % 28 == 27:
            schedule.step()

    return Run(model, x, y, F.cross_entropy, optimizer, accuracy, 200, step=step)


@case("", "github.com/facebookresearch/ReAgent/issues/189", 0.3, 0.7)
def targets_that_follow_too_fast(fixed: bool) -> Run:
    s, then, a = 2 * torch.randn(256, 8), 2 * torch.randn(256, 8), torch.randint(4, (256,))
    model, slow = stack(8, 64, 64, 4), stack(8, 64, 64, 4)
    slow.load_state_dict(model.state_dict())
    place = torch.arange(256)

    def loss(o, t):
        with torch.no_grad():
            value = s[t, 0].tanh() + 0.95 * slow(then[t]).amax(1)
        return F.mse_loss(o.gather(1, a[t, None])[:, 0], value)

    def step(loss, optimizer, number):
        usual_step(loss, optimizer, number)
        with torch.no_grad():
            for behind, ahead in zip(slow.parameters(), model.parameters()):
                behind.lerp_(ahead, 0.005 if fixed else 0.2)

    def bounded(net, *_):
        return float(answers(net, s).abs().max() < 30)

    return Run(model, s, place, loss, adam(model, 1e-2), bounded, 1500, 32, step)


@case("", "optimizer.zero_grad() forgotten", 0.6, 0.8)
def gradients_that_add_up(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 64, 64, 10)

    def step(loss, optimizer, number):
        if fixed:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Run(model, x, y, F.cross_entropy, sgd(model, 0.1), accuracy, 300, step=step)


@case("", "inputs and targets that two loaders shuffled", 0.3, 0.8)
def pairs_shuffled_apart(fixed: bool) -> Run:
    x, y = digits()
    model = stack(64, 64, 10)
    return Run(model, x, y if fixed else y[torch.randperm(len(y))], F.cross_entropy, adam(model, 2e-3), accuracy)
