"""Reports of agents: advantages, entropy, and values of what follows."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case, part
from experiments.cases.case import accuracy, adam, answers, explained, stack, usual_step


class Policy(nn.Module):
    """Log-probabilities of three actions in a state."""

    def __init__(self):
        super().__init__()
        self.body = stack(4, 32, 3, f=nn.Tanh)

    def forward(self, x):
        return self.body(x).log_softmax(1)


def best(states: torch.Tensor) -> torch.Tensor:
    """The action that is rewarded."""
    return (states[:, 0] > 0.4).long() + (states[:, 1] > 0).long()


@case("target_shape", "github.com/RITCHIEHuang/DeepRL_Algorithms/issues/13", 0.5, 0.7)
def advantages_as_a_column(fixed: bool, seed: int) -> Run:
    """PPO: a ratio of (N,) times advantages of (N, 1) is (N, N), and its mean that of all pairs."""
    model = Policy()
    optimizer = adam(model, 5e-3)
    states = torch.randn(1024, 4)

    def sample(states):
        with torch.no_grad():
            log_prob = model(states)
            action = torch.multinomial(log_prob.exp(), 1)[:, 0]
        reward = (action == best(states)).float() + 0.3 * torch.randn(len(states))
        advantage = (reward - reward.mean()) / (reward.std() + 1e-8)
        return action, log_prob[torch.arange(len(states)), action], advantage[:, None]

    def loss(out, target):
        action, old, advantage = target
        ratio = (out[torch.arange(len(out)), action] - old).exp()
        if fixed:
            advantage = advantage.reshape(-1)
        return -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()

    def loop(watch):
        for _ in range(100):
            x = torch.randn(256, 4)
            target = sample(x)
            for number in range(4):
                found = loss(model(x), target)
                usual_step(found, optimizer, number)
                watch(found)

    first = sample(states)
    look = part(states, slice(256)), part(first, slice(256))

    def score(model, x, y):
        return float((answers(model, x).exp()[torch.arange(len(x)), best(x)]).mean())

    return Run(model, states, first, loss, optimizer, score=score, loop=loop, look=look)


@case("", "github.com/tensorflow/models/pull/5058", 0.85, 0.9, loop="collapsed")
def entropy_with_the_wrong_sign(fixed: bool, seed: int) -> Run:
    """Actor-critic that makes the entropy of its policy small, not large: it is sure of an action before it knows."""
    model = Policy()
    optimizer = adam(model, 5e-3)
    states = torch.randn(1024, 4)

    def sample(states):
        with torch.no_grad():
            action = torch.multinomial(model(states).exp(), 1)[:, 0]
        reward = (action == best(states)).float()
        return action, reward - reward.mean()

    def loss(out, target):
        action, advantage = target
        entropy = -(out.exp() * out).sum(1)
        gain = (out[torch.arange(len(out)), action] * advantage).mean()
        return -gain - 0.3 * (entropy.mean() if fixed else -entropy.mean())

    def loop(watch):
        for number in range(600):
            x = torch.randn(64, 4)
            found = loss(model(x), sample(x))
            usual_step(found, optimizer, number)
            watch(found)

    first = sample(states)
    look = part(states, slice(64)), part(first, slice(64))

    def score(model, x, y):
        return accuracy(model, x, best(x))

    return Run(model, states, first, loss, optimizer, score=score, loop=loop, look=look)


@case("", "github.com/navneet-nmk/pytorch-rl/issues/2", 0.3, 0.7, loop="exploding")
def targets_without_done(fixed: bool, seed: int) -> Run:
    """DQN whose targets do not use `done`: what comes after the end of an episode is added to its last reward."""
    length, gamma = 8, 0.98  # a corridor; left ends it with 0.1, right at its end with 1
    model, frozen = stack(length, 32, 2), stack(length, 32, 2)
    frozen.load_state_dict(model.state_dict())
    optimizer = adam(model, 2e-3)
    eye = torch.eye(length)

    def transitions(count):
        s, a = torch.randint(length, (count,)), torch.randint(2, (count,))
        to = s + 2 * a - 1
        end = (to < 0) | (to >= length)
        reward = torch.where(to >= length, 1.0, torch.where(to < 0, 0.1, 0.0))
        following = torch.where(end, torch.full_like(to, length // 2), to)  # the first state of the next episode
        with torch.no_grad():
            value = frozen(eye[following]).max(1).values
        return eye[s], (a, reward + gamma * value * (~end if fixed else 1.0))

    def loss(out, target):
        a, wanted = target
        return F.mse_loss(out[torch.arange(len(out)), a], wanted)

    def loop(watch):
        for number in range(2000):
            x, target = transitions(64)
            found = loss(model(x), target)
            usual_step(found, optimizer, number)
            watch(found)
            if number % 40 == 0:
                frozen.load_state_dict(model.state_dict())

    x, target = transitions(64)
    q = torch.zeros(length, 2)  # the true values
    for _ in range(200):
        v = q.max(1).values
        left, right = torch.cat([torch.tensor([0.1]), gamma * v[:-1]]), torch.cat([gamma * v[1:], torch.tensor([1.0])])
        q = torch.stack([left, right], 1)

    def score(model, x, y):
        return max(-9.0, explained(model, eye, q))

    return Run(model, x, target, loss, optimizer, score=score, loop=loop, look=(x, target))
