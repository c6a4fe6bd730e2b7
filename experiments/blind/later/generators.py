"""Reports of autoencoders, flows and discriminators."""

import torch
from torch import nn

from experiments.blind.case import Run, case, digits, share
from experiments.cases.case import adam, answers, stack


@case("untrained", "github.com/line/open-universe/issues/5", 0.75, 0.85)
def one_discriminator_twice(fixed: bool, seed: int) -> Run:
    """Of two discriminators the parameters of the first are given to the optimizer twice, those of the second never."""
    n, t = 512, 32
    time = torch.arange(t)
    real = (torch.rand(n, 1) * 6.3 + time * (0.4 + 0.8 * torch.rand(n, 1))).sin() + 0.2 * torch.randn(n, t)
    fake = real + 0.8 * ((time % 4 == 0).float() - 0.25)  # with a hum
    x = torch.cat([real, fake])
    y = torch.cat([torch.ones(n), torch.zeros(n)])
    order = torch.randperm(2 * n)

    def tower(size):
        convolutions = [nn.Conv1d(width, 12, size, 2, size // 2) for width in (1, 12)]
        rest = nn.Flatten(), nn.Linear(96, 1)
        return nn.Sequential(convolutions[0], nn.LeakyReLU(0.1), convolutions[1], nn.LeakyReLU(0.1), *rest)

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.mrd, self.mpd = tower(5), tower(9)

        def forward(self, x):
            return torch.cat([self.mrd(x[:, None]), self.mpd(x[:, None])], 1)

    model = Pair()
    parameters = list(model.mrd.parameters()) + list((model.mpd if fixed else model.mrd).parameters())
    optimizer = torch.optim.Adam(dict.fromkeys(parameters), 3e-3)  # none twice: torch warns of it

    def loss(out, y):  # least squares
        return ((out - y[:, None]) ** 2).mean()

    def score(model, x, y):  # of the second
        return float(((answers(model, x)[:, 1] > 0.5) == (y > 0.5)).double().mean())

    return Run(model, x[order], y[order], loss, optimizer, score=score, batch=64, steps=400)


@case("", "github.com/AppliedDataSciencePartners/WorldModels/issues/12", 0.05, 0.3, loop="collapsed")
def vae_of_means(fixed: bool, seed: int) -> Run:
    """The reconstruction is a mean over pixels, the KL a sum over latents: it falls to 4e-7, all images look alike."""
    x, _ = digits()

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = stack(64, 64, 16), stack(8, 64, 64)

        def forward(self, x):
            mean, log_var = self.encoder(x).chunk(2, 1)
            z = mean + (0.5 * log_var).exp() * torch.randn_like(mean) if self.training else mean
            return torch.cat([self.decoder(z).sigmoid(), mean, log_var], 1)

    model = VAE()

    def loss(out, x):
        image, mean, log_var = out.split([64, 8, 8], 1)
        error = (image - x) ** 2
        kl = -0.5 * (1 + log_var - mean**2 - log_var.exp())
        return (error.sum(1) * 4 if fixed else error.mean(1)).mean() + kl.sum(1).mean()

    def score(model, x, y):
        return share(answers(model.eval(), x)[:, :64] - x.mean(0), y - y.mean(0))

    return Run(model, x, x, loss, adam(model, 3e-3), score=score, batch=64, steps=800)


@case("", "github.com/VincentStimper/normalizing-flows/pull/28", 0.3, 0.7, loop="exploding")
def log_determinant_of_the_wrong_sign(fixed: bool, seed: int) -> Run:
    """A flow trained by its own samples with a log determinant of the wrong sign."""
    z = torch.randn(512, 2)
    mean, std = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 2.0])

    class Coupling(nn.Module):
        def __init__(self):
            super().__init__()
            self.nets = nn.ModuleList(stack(1, 32, 2, f=nn.Tanh) for _ in range(4))
            for each in self.nets:
                nn.init.zeros_(each[-1].weight)
                nn.init.zeros_(each[-1].bias)

        def forward(self, z):
            log_det = torch.zeros(len(z))
            for each in self.nets:
                a, b = z.chunk(2, 1)
                shift, scale = each(a).chunk(2, 1)
                z = torch.cat([b * scale.exp() + shift, a], 1)
                log_det = log_det + scale[:, 0]
            return torch.cat([z, log_det[:, None]], 1)

    model = Coupling()

    def loss(out, z):
        x, log_det = out[:, :2], out[:, 2]
        log_q = -0.5 * (z**2).sum(1) - (log_det if fixed else -log_det)
        log_p = -0.5 * (((x - mean) / std) ** 2).sum(1)
        return (log_q - log_p).mean()

    def score(model, z, _):
        x = answers(model, z)[:, :2]
        off = ((x.mean(0) - mean) / std).abs().sum() + (x.std(0) / std).clamp(min=1e-6).log().abs().sum()
        return float(1 - off / 2)

    return Run(model, z, z, loss, adam(model, 5e-3), score=score, batch=256, steps=800)
