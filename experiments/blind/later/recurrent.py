"""Reports of recurrent networks, and of their steps."""

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, case, digits, standard
from experiments.cases.case import above_half, accuracy, adam, explained, likelihood, per_word, usual_step


@case("mixed_samples", "github.com/yunjey/pytorch-tutorial/issues/196", 0.5, 0.85)
def rows_without_batch_first(fixed: bool, seed: int) -> Run:
    """batch_first=True was taken from an LSTM that reads images row by row: an accuracy of 11 %."""
    x, y = digits()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(8, 48, batch_first=fixed)
            self.fc = nn.Linear(48, 10)

        def forward(self, x):
            return self.fc(self.lstm(x)[0][:, -1])

    model = Net()

    def score(model, x, y):  # in batches as in training
        parts = list(zip(x.split(64), y.split(64), strict=True))[:-1]
        return sum(accuracy(model, *each) for each in parts) / len(parts)

    x = F.pad(standard(x).reshape(-1, 8, 8), (0, 0, 1, 1))  # its first and last rows are empty, as MNIST's are
    return Run(model, x, y, F.cross_entropy, adam(model, 1e-2), score=score, batch=64, steps=200)


@case("", "github.com/LINCellularNeuroscience/VAME/issues/26", 0.4, 0.7, loop="standing_still")
def scheduler_with_gamma_0(fixed: bool, seed: int) -> Run:
    """With its scheduler turned off the rate is multiplied by 0 (in place of 1) after the first StepLR period."""
    phase, speed = torch.rand(512, 1, 1) * 6.3, torch.rand(512, 1, 1) * 0.5 + 0.3
    t = torch.arange(12)[None, :, None]
    x = torch.cat([(phase + speed * t).sin(), (phase + speed * t).cos()], -1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.GRU(2, 32, batch_first=True), nn.GRU(32, 32, batch_first=True)
            self.middle, self.out = nn.Linear(32, 32), nn.Linear(32, 2)

        def forward(self, x):
            z = self.middle(self.encoder(x)[1][-1])
            return self.out(self.decoder(z[:, None].expand(-1, 12, -1))[0])

    model = Net()
    optimizer = adam(model, 5e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 15, gamma=1 if fixed else 0)

    def step(loss, optimizer, number):
        usual_step(loss, optimizer, number)
        scheduler.step()

    return Run(model, x, x, F.mse_loss, optimizer, score=explained, batch=64, steps=500, step=step)


@case("step_too_small untrained", "github.com/Lightning-AI/litgpt/issues/779", 0.2, 0.5)
def warmup_that_never_counts(fixed: bool, seed: int) -> Run:
    """With batch_size=1 the steps of a warm-up are never counted: the rate stays at 0."""
    start, stride = torch.randint(0, 12, (512, 1)), torch.randint(1, 3, (512, 1))
    words = (start + stride * torch.arange(9)) % 12
    x, y = words[:, :-1], words[:, 1:]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.rnn, self.head = nn.Embedding(12, 24), nn.GRU(24, 32, batch_first=True), nn.Linear(32, 12)

        def forward(self, x):
            return self.head(self.rnn(self.words(x))[0])

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3 / 20 if fixed else 0.0)
    state = {"count": 0}

    def step(loss, optimizer, number):
        if fixed:
            state["count"] += 1
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, state["count"] / 20)
        usual_step(loss, optimizer, number)

    return Run(model, x, y, per_word, optimizer, score=likelihood, batch=1, steps=1200, step=step)


@case("", "github.com/snakers4/silero-vad/pull/699", 0.85, 0.92, loop="gradients_kept")
def tuned_without_zero_grad(fixed: bool, seed: int) -> Run:
    """optimizer.zero_grad() was missing in the tuning of a voice detector: gradients add up over all steps."""
    n, t = 512, 24
    speech = (F.avg_pool1d(torch.randn(n, 1, t), 7, 1, 3)[:, 0] > 0).float()
    tones = torch.tensor([1, 0, 1, 0, 1, 0.0])
    x = torch.randn(n, t, 6) * 0.7 + speech[..., None] * torch.randn(n, 1, 6).sign() * tones

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn = nn.Conv1d(6, 24, 3, padding=1), nn.LSTM(24, 24, batch_first=True)
            self.head = nn.Linear(24, 1)

        def forward(self, x):
            return self.head(self.rnn(self.conv(x.transpose(1, 2)).relu().transpose(1, 2))[0])[..., 0]

    model = Net()

    def step(loss, optimizer, number):
        if fixed:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Run(
        model,
        x,
        speech,
        F.binary_cross_entropy_with_logits,
        adam(model, 5e-3),
        score=above_half,
        batch=32,
        steps=500,
        step=step,
    )
