"""Reports of attention: what it is a softmax of, and what it is masked by."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case
from experiments.cases.case import accuracy, adam, answers, explained, likelihood, per_word


@case("squashed_twice untrained", "github.com/DEEP-PolyU/KEQA_WSDM19/issues/2", 0.3, 0.8)
def softmax_of_one_score(fixed: bool, seed: int) -> Run:
    """Attention over time where the softmax is over the last dimension, which has a size of 1: all weights are 1."""
    x = torch.randn(1024, 12, 2)
    where = torch.randint(12, (1024,))
    x[..., 1] = F.one_hot(where, 12)
    y = x[torch.arange(1024), where, 0][:, None]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.values = nn.Linear(2, 16)
            self.attn = nn.Sequential(nn.Linear(18, 16), nn.Tanh(), nn.Linear(16, 1))
            self.out = nn.Linear(16, 1)

        def forward(self, x):
            v = self.values(x)
            weights = F.softmax(self.attn(torch.cat([x, v], -1)), dim=1 if fixed else -1)
            return self.out((weights * v).mean(1) * 12)

    model = Net()
    return Run(model, x, y, F.mse_loss, adam(model, 1e-2), score=explained, batch=64, steps=500)


@case("squashed_twice untrained mixed_samples", "github.com/PetrochukM/PyTorch-NLP/issues/2", 0.5, 0.8)
def softmax_over_the_batch(fixed: bool, seed: int) -> Run:
    """Scores reshaped to (batch * output, query) and a softmax over dimension 0: all are 1 with a batch of one."""
    keys = torch.rand(2048, 8).argsort(1)[:, :6]  # six different keys of eight
    values = torch.randint(10, (2048, 6))
    asked = torch.randint(6, (2048,))
    rows = torch.arange(2048)
    x, y = (keys, values, keys[rows, asked]), values[rows, asked]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.keys, self.values, self.out = nn.Embedding(8, 16), nn.Embedding(10, 16), nn.Linear(16, 10)

        def forward(self, keys, values, asked):
            query, context = self.keys(asked)[:, None], self.keys(keys)
            scores = query @ context.transpose(1, 2)
            weights = scores.view(-1, scores.shape[-1]).softmax(-1 if fixed else 0).view_as(scores)
            return self.out((weights @ self.values(values))[:, 0])

    model = Net()

    def one_by_one(model, x, y):
        return sum(accuracy(model, tuple(each[n : n + 1] for each in x), y[n : n + 1]) for n in range(250)) / 250

    return Run(model, x, y, F.cross_entropy, adam(model, 3e-3), score=one_by_one, batch=1, steps=2000)


class Block(nn.Module):
    """One layer of a transformer; with a second attention to a memory, or to itself where there is none."""

    def __init__(self, width: int = 32, heads: int = 2, cross: bool = False):
        super().__init__()
        self.own = nn.MultiheadAttention(width, heads, batch_first=True)
        self.other = nn.MultiheadAttention(width, heads, batch_first=True) if cross else None
        self.forward_ = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, x, memory=None, mask=None):
        x = self.norms[0](x + self.own(x, x, x, attn_mask=mask, need_weights=False)[0])
        if self.other is not None:
            seen, hidden = (x, mask) if memory is None else (memory, None)
            x = self.norms[1](x + self.other(x, seen, seen, attn_mask=hidden, need_weights=False)[0])
        return self.norms[2](x + self.forward_(x))


def causal(length: int) -> torch.Tensor:
    """True where a place must not look: at those after it."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


@case("untrained", "github.com/keitakurita/Practical_NLP_in_PyTorch/issues/1", 0.3, 0.7)
def decoder_without_encoder(fixed: bool, seed: int) -> Run:
    """A decoder's second attention takes its keys and values from the decoder: what the encoder says is not used."""
    source = torch.randint(1, 10, (2048, 6))
    target = source.flip(1)
    given = torch.cat([torch.zeros(2048, 1, dtype=torch.long), target[:, :-1]], 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(10, 32), nn.Parameter(torch.randn(6, 32))
            self.encoder, self.decoder, self.head = Block(), Block(cross=True), nn.Linear(32, 10)

        def forward(self, source, given):
            memory = self.encoder(self.words(source) + self.places)
            x = self.words(given) + self.places
            return self.head(self.decoder(x, memory if fixed else None, causal(6)))

    model = Net()
    return Run(model, (source, given), target, per_word, adam(model, 3e-3), score=likelihood, batch=64, steps=600)


@case("non_finite_forward", "github.com/jadore801120/attention-is-all-you-need-pytorch/issues/5", 0.3, 0.7)
def rows_masked_by_infinity(fixed: bool, seed: int) -> Run:
    """Masked scores are set to -inf before the softmax, and rows that are padding have nothing else: nan."""
    length = torch.randint(3, 9, (1024,))
    words = torch.randint(1, 12, (1024, 8)) * (torch.arange(8) < length[:, None])
    y = torch.where(words > 0, words.roll(1, 1), 0)  # the word before
    y[:, 0] = words[:, 0]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(12, 32, padding_idx=0), nn.Parameter(torch.randn(8, 32))
            self.qkv, self.out, self.head = nn.Linear(32, 96), nn.Linear(32, 32), nn.Linear(32, 12)

        def forward(self, words):
            x = self.words(words) + self.places
            q, k, v = self.qkv(x).chunk(3, -1)
            pad = words == 0
            mask = pad[:, None] | pad[:, :, None]
            scores = (q @ k.transpose(1, 2) / 32**0.5).masked_fill(mask, -1e9 if fixed else -float("inf"))
            return self.head(x + self.out(scores.softmax(-1) @ v))

    model = Net()

    def loss(out, y):
        return F.cross_entropy(out.flatten(0, 1), y.flatten(), ignore_index=0)

    def score(model, words, y):
        right = answers(model, words).argmax(-1) == y
        return float(right[words > 0].double().mean())

    return Run(model, words, y, loss, adam(model, 5e-3), score=score, batch=64, steps=500)


@case("", "github.com/cmu-l3/anlp-fall2025-code/issues/1", 0.6, 0.9)
def places_of_the_batch(fixed: bool, seed: int) -> Run:
    """arange(x.size(0)).unsqueeze(1) in place of size(1): all words of a sequence get the same place."""
    words = torch.randint(0, 8, (2048, 10))
    spots = torch.rand(2048, 10).argsort(1)[:, :2]
    words = words.clamp(min=2)
    words[torch.arange(2048), spots[:, 0]] = 0
    words[torch.arange(2048), spots[:, 1]] = 1
    y = (spots[:, 0] < spots[:, 1]).long()  # whether word 0 comes before word 1

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(8, 32), nn.Embedding(2048, 32)
            self.body, self.head = nn.ModuleList([Block(), Block()]), nn.Linear(32, 2)

        def forward(self, x):
            pos = torch.arange(x.size(1)).unsqueeze(0) if fixed else torch.arange(x.size(0)).unsqueeze(1)
            x = self.words(x) + self.places(pos)
            for each in self.body:
                x = each(x)
            return self.head(x.mean(1))

    model = Net()
    return Run(model, words, y, F.cross_entropy, adam(model, 3e-3), score=accuracy, batch=64, steps=600)
