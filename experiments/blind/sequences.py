"""Reports of sequences: recurrent networks, transformers, adapters."""

from math import inf, log, nan, sqrt

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case, digits, standard
from experiments.cases.case import accuracy, adam, answers, explained, sgd


@case("mixed_samples", "github.com/yunjey/pytorch-tutorial/issues/89", 0.5, 0.8)
def batch_first_dropped(fixed: bool, seed: int) -> Run:
    """batch_first deleted, the inputs left as they were: the LSTM runs over the batch."""
    x, y = digits()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.fc = nn.LSTM(8, 32, 2, batch_first=fixed), nn.Linear(32, 10)

        def forward(self, x):
            return self.fc(self.lstm(x)[0][:, -1])

    model = Net()
    return Run(
        model,
        x.reshape(-1, 8, 8),
        y,
        loss=F.cross_entropy,
        optimizer=adam(model, 1e-2),
        batch=64,
        steps=300,
        score=accuracy,
    )


@case("mixed_samples", "github.com/HHTseng/video-classification/issues/42", 0.6, 0.9)
def view_for_transpose(fixed: bool, seed: int) -> Run:
    """view(T, B, F) where a transposition is needed: frames of different videos make one sequence."""
    x, y = digits()
    x = standard(x).reshape(-1, 8, 8)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.frame, self.lstm, self.fc = nn.Linear(8, 16), nn.LSTM(16, 32), nn.Linear(32, 10)

        def forward(self, x):
            f = torch.relu(self.frame(x))
            f = f.transpose(0, 1) if fixed else f.view(f.shape[1], f.shape[0], -1)
            return self.fc(self.lstm(f)[0][-1])

    model = Net()
    return Run(model, x, y, loss=F.cross_entropy, optimizer=adam(model, 1e-2), batch=64, steps=300, score=accuracy)


@case("mixed_samples", "github.com/timbmg/Sentence-VAE/issues/15", 0.7, 0.9)
def hidden_view(fixed: bool, seed: int) -> Run:
    """The last states of two directions are put side by side by view(B, 2H): those of different samples meet."""
    x, y = digits()
    x = standard(x).reshape(-1, 8, 8)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.fc = nn.GRU(8, 24, bidirectional=True, batch_first=True), nn.Linear(48, 10)

        def forward(self, x):
            h = self.gru(x)[1]
            return self.fc(h.transpose(0, 1).reshape(len(x), -1) if fixed else h.view(len(x), -1))

    model = Net()
    return Run(model, x, y, loss=F.cross_entropy, optimizer=adam(model, 1e-2), batch=64, steps=300, score=accuracy)


@case("non_finite_forward", "github.com/meijieru/crnn.pytorch/issues/235", 0.1, 0.5)
def ctc_too_short(fixed: bool, seed: int) -> Run:
    """Fewer frames than letters (and doubled ones): the CTC loss is infinite."""
    n, letters, V = 256, 5, 6
    t = torch.randint(1, V, (n, letters))
    table = torch.randn(V, 12)
    x = table[t].repeat_interleave(4, 1) + 0.1 * torch.randn(n, 20, 12)  # 20 frames

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn, self.out = (
                nn.Conv1d(12, 32, 3, padding=1, stride=1 if fixed else 5),
                nn.GRU(32, 32, batch_first=True),
                nn.Linear(32, V),
            )

        def forward(self, x):
            h = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
            return self.out(self.rnn(h)[0]).log_softmax(-1)

    model = Net()

    def loss(o, y):
        p = o.transpose(0, 1)
        return F.ctc_loss(p, y, torch.full((len(y),), len(p)), torch.full((len(y),), letters))

    def score(net, i, y):
        o = answers(net, i)
        good = 0
        for each, want in zip(o.argmax(-1).tolist(), y.tolist()):
            got = [a for a, b in zip(each, [-1, *each]) if a != b and a]
            good += got == want
        return good / len(y) if torch.isfinite(o).all() else nan

    return Run(model, x, t, loss=loss, optimizer=adam(model, 1e-2), steps=400, score=score)


class Attend(nn.Module):
    def __init__(self, d, mask=None):
        super().__init__()
        self.qkv, self.o, self.mask = nn.Linear(d, 3 * d), nn.Linear(d, d), mask
        self.a, self.b = nn.LayerNorm(d), nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x, pad=None):
        q, k, v = self.qkv(self.a(x)).chunk(3, -1)
        s = q @ k.transpose(1, 2) / sqrt(x.shape[-1])
        if pad is not None:
            s = s.masked_fill(pad[:, None], self.mask)
        x = x + self.o(s.softmax(-1) @ v)
        return x + self.mlp(self.b(x))


@case("non_finite_forward", "github.com/bentrevett/pytorch-seq2seq/issues/191", 0.3, 0.8)
def masked_rows(fixed: bool, seed: int) -> Run:
    """-inf in place of a large negative number: a sample that is all padding gets NaN."""
    n, T, V, d = 256, 10, 12, 24
    x = torch.randint(1, V, (n, T))
    y = x[:, 0] % 4
    length = torch.randint(1, T + 1, (n,))
    length[::16] = 0
    x[torch.arange(T)[None] >= length[:, None]] = 0

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.p, self.block, self.out = (
                nn.Embedding(V, d),
                nn.Parameter(torch.randn(T, d) * 0.1),
                Attend(d, -1e4 if fixed else -inf),
                nn.Linear(d, 4),
            )

        def forward(self, t):
            return self.out(self.block(self.e(t) + self.p, t == 0)[:, 0])

    model = Net()
    return Run(model, x, y, loss=F.cross_entropy, optimizer=adam(model, 5e-3), steps=300, score=accuracy)


@case("untrained", "github.com/cloneofsimo/lora/issues/26", 0.5, 0.7)
def checkpointed_lora(fixed: bool, seed: int) -> Run:
    """Reentrant checkpointing on frozen inputs: the adapters inside never see a gradient; the head alone learns."""
    from torch.utils.checkpoint import checkpoint

    d = 32
    x, y = digits()
    x = standard(x)

    class Low(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(d, d).requires_grad_(False)
            self.down, self.up = nn.Linear(d, 8, bias=False), nn.Linear(8, d, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x):
            return torch.tanh(self.base(x) + self.up(self.down(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(64, d).requires_grad_(False)
            self.blocks, self.head = nn.ModuleList(Low() for _ in range(3)), nn.Linear(d, 1)

        def forward(self, x):
            h = self.embed(x)
            for each in self.blocks:
                h = checkpoint(each, h, use_reentrant=not fixed)
            return self.head(h)[:, 0]

    model = Net()
    t = standard((y.float()[:, None] % 2) * 2 - 1 + (y.float()[:, None] > 4) * 1.0)[:, 0]
    return Run(model, x, t, loss=F.mse_loss, optimizer=adam(model, 5e-3), batch=64, steps=500, score=explained)


@case("output_scale", "github.com/syncdoth/RetNet/issues/31", 0.3, 0.5)
def tied_unit_embedding(fixed: bool, seed: int) -> Run:
    """Embeddings N(0, 1), tied to the output layer: the first loss is many times ln V."""
    V, d, T = 128, 256, 12
    x = torch.randint(V, (256, T))
    t = torch.randperm(V)[x]

    class LM(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.block, self.norm = nn.Embedding(V, d), Attend(d), nn.LayerNorm(d)
            if fixed:
                nn.init.normal_(self.e.weight, std=0.02)

        def forward(self, s):
            return self.norm(self.block(self.e(s))) @ self.e.weight.T

    model = LM()
    return Run(
        model,
        x,
        t,
        loss=lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()),
        optimizer=adam(model, 1e-3),
        steps=40,
        score=lambda net, i, y: 1 - F.cross_entropy(answers(net, i).flatten(0, 1), y.flatten()).item() / log(V),
    )


@case("target_scale", "github.com/sktime/pytorch-forecasting/pull/2", 0.3, 0.7)
def raw_series(fixed: bool, seed: int) -> Run:
    """Targets of some thousands, not normalized; inputs are."""
    g = torch.Generator().manual_seed(seed)
    phase = torch.rand(512, 1, generator=g) * 6.28
    time = torch.arange(25)[None]
    series = (phase + time * 0.4).sin() + 0.1 * torch.randn(512, 25, generator=g)
    x, y = series[:, :24, None], series[:, 24:]
    y = y if fixed else y * 800 + 3000

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.o = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1)

        def forward(self, x):
            return self.o(self.r(x)[0][:, -1])

    model = Net()
    return Run(model, x, y, loss=F.mse_loss, optimizer=adam(model, 5e-3), batch=64, steps=300, score=explained)


@case("", "github.com/KasperGroesLudvigsen/influenza_transformer/issues/13", 0.5, 0.8, loop="gradients_kept")
def series_transformer_without_zero_grad(fixed: bool, seed: int) -> Run:
    """A transformer for time series whose loop never sets gradients to zero."""
    g = torch.Generator().manual_seed(seed)
    phase = torch.rand(512, 1, generator=g) * 6.28
    series = (phase + torch.arange(17)[None] * 0.5).sin() + 0.05 * torch.randn(512, 17, generator=g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.p = nn.Linear(1, 32), nn.Parameter(torch.randn(16, 32) * 0.1)
            self.t = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
            self.o = nn.Linear(32, 1)

        def forward(self, x):
            return self.o(self.t(self.e(x) + self.p)[:, -1])

    model = Net()
    o = sgd(model, 0.02, momentum=0.9)

    def step(loss, o, number):
        if fixed:
            o.zero_grad()
        loss.backward()
        o.step()

    return Run(
        model,
        series[:, :16, None],
        series[:, 16:],
        loss=F.mse_loss,
        optimizer=o,
        step=step,
        batch=64,
        steps=400,
        score=explained,
    )
