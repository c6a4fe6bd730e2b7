"""Reports of autoencoders, diffusion, and two networks against each other."""

from collections.abc import Callable
from math import nan, pi

import torch
from torch import nn
from torch.nn import functional as F

from experiments.blind.case import Run, Watch, case, digits, standard
from experiments.cases.case import adam, answers, explained, stack


@case(
    "target_scale", "github.com/curiousily/Credit-Card-Fraud-Detection-using-Autoencoders-in-Keras/issues/1", 0.5, 0.6
)
def relu_decoder(fixed: bool, seed: int) -> Run:
    """Keras autoencoder whose last layer is a ReLU; the standardized columns are negative half of the time."""
    import keras

    keras.utils.set_random_seed(seed)
    z = torch.randn(1024, 4)
    x = standard(torch.tanh(z @ torch.randn(4, 20)) + 0.1 * torch.randn(1024, 20))
    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(14, activation="tanh"),
            keras.layers.Dense(7, activation="relu"),
            keras.layers.Dense(14, activation="tanh"),
            keras.layers.Dense(20, activation=None if fixed else "relu"),
        ]
    )
    return Run(model, x, x, loss=F.mse_loss, optimizer=adam(model, 3e-3), batch=64, steps=1500, score=explained)


class VAE(nn.Module):
    def __init__(self, n, h, z, squash=nn.Identity):
        super().__init__()
        self.enc, self.mu, self.logvar = nn.Sequential(nn.Linear(n, h), nn.ReLU()), nn.Linear(h, z), nn.Linear(h, z)
        self.dec = nn.Sequential(nn.Linear(z, h), nn.ReLU(), nn.Linear(h, n), squash())

    def forward(self, x):
        h = self.enc(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + (logvar / 2).exp() * torch.randn_like(mu)
        return self.dec(z), mu, logvar


def rebuilt(net, i, t):
    """The share of the variance of each pixel that a VAE's answers explain."""
    o = answers(net, i)[0]
    return (1 - (o - t).square().mean() / t.sub(t.mean(0)).square().mean()).item()


@case("", "github.com/zdebruine/MMVAE/pull/19", 0.05, 0.3, loop="posterior_collapse")
def mse_mean_kl_sum(fixed: bool, seed: int) -> Run:
    """Reconstruction averaged over pixels, KL summed: the KL is 0 after a few epochs."""
    x, _ = digits()
    model = VAE(64, 64, 8)

    def loss(o, t):
        kl = -0.5 * (1 + o[2] - o[1] ** 2 - o[2].exp()).sum()
        mse = F.mse_loss(o[0], t, reduction="sum" if fixed else "mean")
        return (mse * 10 + kl) / len(t) if fixed else mse + kl / len(t)

    return Run(model, x, x, loss=loss, optimizer=adam(model, 2e-3), batch=64, steps=600, score=rebuilt)


@case("input_scale exploding", "github.com/AppliedDataSciencePartners/WorldModels/issues/2", 0.3, 0.5)
def vae_of_bytes(fixed: bool, seed: int) -> Run:
    """Frames as bytes, 0 to 255: exp(logvar) makes the KL of the first steps astronomical, then NaN."""
    x, _ = digits()
    t = x.clone()
    x = x if fixed else x * 255
    model = VAE(64, 128, 16, nn.Sigmoid)

    def loss(o, y):
        kl = -0.5 * (1 + o[2] - o[1] ** 2 - o[2].exp()).sum()
        return F.mse_loss(o[0], y, reduction="sum") * 5 / len(y) + kl / len(y)

    return Run(model, x, t, loss=loss, optimizer=adam(model, 2e-3), batch=64, steps=600, score=rebuilt)


@case("input_scale", "github.com/IDEALLab/EngiOpt/pull/67", 0.3, 0.45)
def designs_not_normalized(fixed: bool, seed: int) -> Run:
    """Designs in their own units go into the diffusion: the noise of size 1 drowns in them."""
    g = torch.Generator().manual_seed(seed)
    data = torch.randn(1024, 4, generator=g) @ torch.randn(4, 16, generator=g) * 40 + 250
    data = standard(data) if fixed else data
    t = torch.rand(1024, 1, generator=g)
    noise = torch.randn(1024, 16, generator=g)
    a = (1 - 0.98 * t).sqrt()
    x = a * data + (1 - a * a).sqrt() * noise

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = stack(17, 128, 128, 16, f=nn.SiLU)

        def forward(self, x, t):
            return self.f(torch.cat([x, t], 1))

    model = Net()
    return Run(model, (x, t), noise, loss=F.mse_loss, optimizer=adam(model, 2e-3), batch=64, steps=800, score=explained)


@case("", "github.com/modelscope/DiffSynth-Studio/issues/1175", 0.1, 0.4)
def other_noise(fixed: bool, seed: int) -> Run:
    """The noise that the model is to find is drawn anew, not the one that was added."""
    g = torch.Generator().manual_seed(seed)
    data = torch.randn(1024, 3, generator=g) @ torch.randn(3, 16, generator=g) * 0.5
    t = torch.rand(1024, 1, generator=g)
    noise, other = torch.randn(2, 1024, 16, generator=g)
    a = (1 - 0.98 * t).sqrt()
    model = stack(17, 128, 128, 16, f=nn.SiLU)
    return Run(
        model,
        torch.cat([a * data + (1 - a * a).sqrt() * noise, t], 1),
        noise if fixed else other,
        loss=F.mse_loss,
        optimizer=adam(model, 2e-3),
        batch=64,
        steps=500,
        score=lambda net, i, _: explained(net, i, noise),
    )


YES, NO = torch.ones(128, 1), torch.zeros(128, 1)


class Ring:
    """A GAN on points near a circle; the score says how near the circle, and how spread, what is generated lies."""

    def __init__(self, seed: int, *last: nn.Module, z: int = 4):
        self.g, self.z = stack(z, 64, 64, 2), z
        self.d = nn.Sequential(*stack(2, 64, 64, 1, f=lambda: nn.LeakyReLU(0.2)), *last)
        self.rng = torch.Generator().manual_seed(seed)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(each.parameters(), 1e-3, betas=(0.5, 0.99)) for each in (self.g, self.d)]

    def real(self, n=128):
        a = torch.rand(n, generator=self.rng) * 2 * pi
        return torch.stack([a.cos(), a.sin()], 1) * 2 + 0.05 * torch.randn(n, 2, generator=self.rng)

    def noise(self, n=128):
        return torch.randn(n, self.z, generator=self.rng)

    def score(self, *_):
        p = answers(self.g, self.noise(1024))
        if not torch.isfinite(p).all():
            return nan
        near = ((p.norm(dim=1) - 2).abs() < 0.4).float().mean()
        spread = torch.histc(torch.atan2(p[:, 1], p[:, 0]), 8, -pi, pi).gt(20).float().mean()
        return (near * spread).item()

    def run(self, optimizer: torch.optim.Optimizer, loop: Callable[[Watch], None]) -> Run:
        """The discriminator, which is looked at, and how both are trained."""
        return Run(
            model=self.d,
            inputs=torch.cat([self.real(32), answers(self.g, self.noise(32))]),
            targets=torch.cat([YES[:32], NO[:32]]),
            loss=F.binary_cross_entropy_with_logits,
            optimizer=optimizer,
            loop=loop,
            score=self.score,
        )


@case("", "github.com/Adversarial-Deep-Learning/code-soup/issues/69", 0.3, 0.6, loop="gradients_kept")
def critic_without_zero_grad(fixed: bool, seed: int) -> Run:
    """The discriminator's gradients are never set to zero."""
    gan = Ring(seed)
    og, od = gan.optimizers()

    def loop(watch):
        for _ in range(1500):
            real, fake = gan.real(), gan.g(gan.noise())
            if fixed:
                od.zero_grad()
            d = F.binary_cross_entropy_with_logits(gan.d(real), YES) + F.binary_cross_entropy_with_logits(
                gan.d(fake.detach()), NO
            )
            d.backward()
            od.step()
            watch(d)
            og.zero_grad()
            g = F.binary_cross_entropy_with_logits(gan.d(fake), YES)
            kept = [None if p.grad is None else p.grad.clone() for p in gan.d.parameters()]
            g.backward()
            for p, was in zip(gan.d.parameters(), kept):
                p.grad = was
            og.step()

    return gan.run(od, loop)


@case("squashed_twice", "github.com/soumith/ganhacks/issues/67", 0.3, 0.6)
def sigmoid_in_discriminator(fixed: bool, seed: int) -> Run:
    """A discriminator that ends in a sigmoid under BCEWithLogitsLoss."""
    gan = Ring(seed, *[nn.Sigmoid()] * (not fixed))
    og, od = gan.optimizers()

    def loop(watch):
        for _ in range(1500):
            fake = gan.g(gan.noise())
            od.zero_grad()
            d = F.binary_cross_entropy_with_logits(gan.d(gan.real()), YES) + F.binary_cross_entropy_with_logits(
                gan.d(fake.detach()), NO
            )
            d.backward()
            od.step()
            watch(d)
            og.zero_grad()
            F.binary_cross_entropy_with_logits(gan.d(fake), YES).backward()
            og.step()

    return gan.run(od, loop)
