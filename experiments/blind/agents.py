"""Reports of agents: values, policies, and what both are learnt from."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case
from experiments.cases.case import adam, answers, explained, stack


@case("target_shape", "github.com/RLinf/RLinf/issues/1568", 0.1, 0.7)
def returns_of_two_shapes(fixed: bool, seed: int) -> Run:
    """Values (B,), returns (B, 1), in PPO's clipped loss of values."""
    s = torch.randn(1024, 8)
    ret = torch.tanh(s @ torch.randn(8, 1)) * 2 + s[:, :1]

    class Critic(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = stack(8, 64, 64, 1, f=nn.Tanh)

        def forward(self, s):
            v = self.f(s)
            return v if fixed else v[:, 0]

    model = Critic()

    def loss(v, r):
        old = torch.zeros_like(r)
        clipped = old + (v - old).clamp(-5, 5)
        return 0.5 * torch.maximum((v - r) ** 2, (clipped - r) ** 2).mean()

    return Run(model, s, ret, loss=loss, optimizer=adam(model, 3e-3), batch=64, steps=400, score=explained)


@case("untrained", "github.com/kengz/SLM-Lab/pull/133", 0.5, 0.8)
def tensor_of_log_probs(fixed: bool, seed: int) -> Run:
    """torch.tensor(list of log-probabilities) cuts the actor from the graph; the critic's loss still flows."""
    s = torch.randn(1024, 6)
    best = (s @ torch.randn(6, 4)).argmax(1)
    g = torch.Generator().manual_seed(seed)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.actor, self.critic = stack(6, 32, 4, f=nn.Tanh), stack(6, 32, 1, f=nn.Tanh)

        def forward(self, s):
            return self.actor(s), self.critic(s)

    model = Net()

    def loss(o, b):
        p = o[0].log_softmax(-1)
        a = torch.randint(4, (len(b),), generator=g)
        reward = (a == b).float()
        lp = [p[i, a[i]] for i in range(len(b))]
        lp = torch.stack(lp) if fixed else torch.tensor([each.item() for each in lp])
        w = 4 * p.detach()[torch.arange(len(b)), a].exp()
        adv = reward - o[1][:, 0]
        return -(lp * adv.detach() * w).mean() + adv.square().mean()

    return Run(
        model,
        s,
        best,
        loss=loss,
        optimizer=adam(model, 1e-2),
        batch=64,
        steps=300,
        score=lambda net, i, t: (answers(net, i)[0].argmax(1) == t).float().mean().item(),
    )


@case("non_finite_forward", "github.com/cpnota/autonomous-learning-library/issues/139", 0.1, 0.5)
def log_of_scaled_action(fixed: bool, seed: int) -> Run:
    """log(1 - action**2 + 1e-6) with actions scaled to +-2: the logarithm of negative numbers."""
    s = torch.randn(1024, 5)
    want = torch.tanh(s @ torch.randn(5, 2)) * 1.6

    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.log_alpha = stack(5, 64, 4), nn.Parameter(torch.tensor(-3.0))

        def forward(self, s):
            mu, log_std = self.f(s).chunk(2, 1)
            d = torch.distributions.Normal(mu, log_std.clamp(-5, 1).exp(), validate_args=False)
            raw = d.rsample()
            a = torch.tanh(raw) * 2
            squashed = torch.tanh(raw) if fixed else a
            log_prob = (d.log_prob(raw) - torch.log(1 - squashed**2 + 1e-6)).sum(1)
            return a, log_prob, torch.tanh(mu) * 2, self.log_alpha

    model = Policy()

    def loss(o, t):
        return o[3].exp().detach() * o[1].mean() + (o[0] - t).square().sum(1).mean() - o[3] * (o[1].detach() - 2).mean()

    return Run(
        model,
        s,
        want,
        loss=loss,
        optimizer=adam(model, 3e-3),
        batch=64,
        steps=400,
        score=lambda net, i, t: (1 - (answers(net, i)[2] - t).square().mean() / t.var()).item(),
    )


@case("", "github.com/ikostrikov/pytorch-ddpg-naf/issues/16", 0.3, 0.7, loop="runaway")
def mask_that_is_added(fixed: bool, seed: int) -> Run:
    """r + gamma * mask + V' in place of r + gamma * mask * V': values grow with each copy into the target network."""
    n, gamma = 512, 0.9
    s = torch.rand(n, 4) * 2 - 1
    nxt = (s * 0.8 + 0.2 * torch.rand(n, 4)).clamp(-1, 1)
    r = s.sum(1, keepdim=True)
    done = (torch.rand(n, 1) < 0.1).float()
    model, target = stack(4, 64, 1), stack(4, 64, 1)
    target.load_state_dict(model.state_dict())
    o = adam(model, 3e-3)

    def td(v, batch):
        nx, rr, dd = batch
        with torch.no_grad():
            q = target(nx)
            y = rr + gamma * (1 - dd) * q if fixed else rr + gamma * (1 - dd) + q
        return F.mse_loss(v, y)

    def loop(watch):
        g = torch.Generator().manual_seed(seed)
        for k in range(1500):
            i = torch.randint(n, (64,), generator=g)
            o.zero_grad()
            loss = td(model(s[i]), (nxt[i], r[i], done[i]))
            loss.backward()
            o.step()
            watch(loss)
            if k % 10 == 9:
                target.load_state_dict(model.state_dict())

    return Run(
        model,
        s,
        (nxt, r, done),
        loss=td,
        optimizer=o,
        loop=loop,
        score=lambda net, i, t: explained(net, i, r + gamma * (1 - done) * answers(net, nxt)),
    )
