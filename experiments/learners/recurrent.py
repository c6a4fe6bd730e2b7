"""Tasks over time: a number from the last state, and the next token from all tokens before it."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lstab import seeded
from experiments.learners.fields import TOKENS, of_tokens
from experiments.learners.learner import WIDTH, Measured, Task, enter, every, filled, gain, normal


class Reader(nn.Module):
    """A recurrent network and a linear layer of its last state, or of all of them."""

    def __init__(self, cell, embed: nn.Module, inputs: int, outputs: int, *, layers=1, fill=None, whole=False):
        super().__init__()
        self.embed, self.whole = embed, whole
        self.body = filled(cell(inputs, WIDTH, layers, batch_first=True), fill)
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states = self.body(self.embed(x))[0]
        return self.head(states if self.whole else states[:, -1])


class Transformer(nn.Module):
    """Causal layers over embedded tokens and places."""

    def __init__(self, depth: int, *, first: bool):
        super().__init__()
        self.embed, self.place = nn.Embedding(TOKENS, WIDTH), nn.Embedding(12, WIDTH)
        one = partial(nn.TransformerEncoderLayer, WIDTH, 2, WIDTH, dropout=0.0, batch_first=True, norm_first=first)
        self.body = nn.ModuleList(one() for _ in range(depth))
        self.head = nn.Linear(WIDTH, TOKENS)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.place.weight
        later = torch.ones(12, 12, dtype=torch.bool).triu(1)
        for layer in self.body:
            h = layer(h, src_mask=later)
        return self.head(h)


CELLS = {
    "LSTM": {"cell": nn.LSTM},
    "GRU": {"cell": nn.GRU},
    "plain RNN": {"cell": nn.RNN},
    "2 GRU": {"cell": nn.GRU, "layers": 2},
    "GRU, N(0, 0.001²)": {"cell": nn.GRU, "fill": normal(0.001)},
    "LSTM, all weights 0.1": {"cell": nn.LSTM, "fill": every(0.1)},
    "plain RNN, gain 6": {"cell": nn.RNN, "fill": gain(6.0)},
    "5 plain RNN, N(0, 0.01²)": {"cell": nn.RNN, "layers": 5, "fill": normal(0.01)},
}


def readers(embed, inputs: int, outputs: int, *, whole: bool) -> dict:
    return {
        name: lambda how=how: Reader(embed=embed(), inputs=inputs, outputs=outputs, whole=whole, **how)
        for name, how in CELLS.items()
    }


series = torch.randn(1536, 16, 2, generator=seeded(1))
fading = torch.exp(-torch.arange(16.0).flip(0) / 4)
total = (series[..., 0] * fading).sum(1, keepdim=True).tanh() + 0.3 * series[:, -3:, 1].mean(1, keepdim=True)
unscaled = {
    "GRU, inputs 100 x + 300": lambda: Reader(nn.GRU, Measured(100.0, 300.0), 2, 1),
    "LSTM, inputs 100 x + 300": lambda: Reader(nn.LSTM, Measured(100.0, 300.0), 2, 1),
}
task = Task(series, total, F.mse_loss, lambda y: y.mean(0))
enter("number at the end", task, readers(nn.Identity, 2, 1, whole=False) | unscaled)

# After a token comes one of two, which one the token before it says.
follow = torch.randint(TOKENS, (TOKENS, 2), generator=seeded(2))
text = torch.randint(TOKENS, (1536, 13), generator=seeded(3))
for t in range(2, 13):
    text[:, t] = follow[text[:, t - 1], text[:, t - 2] % 2]
next_token = Task(text[:, :-1], text[:, 1:], of_tokens, lambda y: torch.zeros(TOKENS))
enter("next token", next_token, readers(partial(nn.Embedding, TOKENS, WIDTH), WIDTH, TOKENS, whole=True))
TRANSFORMERS = {
    "2 transformer, norm first": {"depth": 2, "first": True},
    "2 transformer, norm last": {"depth": 2, "first": False},
}
enter("next token, attention", next_token, {k: lambda how=how: Transformer(**how) for k, how in TRANSFORMERS.items()})
