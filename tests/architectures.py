"""Small models of every kind that people bring: each entry makes (model, inputs, targets)."""

import random
from collections import OrderedDict, deque
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

BATCH = 8


def classes(of: int = 4) -> Tensor:
    return torch.arange(BATCH) % of


def images() -> Tensor:
    return torch.randn(BATCH, 3, 8, 8)


def sequences(length: int = 6) -> Tensor:
    return torch.randn(BATCH, length, 5)


class Residual(nn.Module):
    """A block as torchvision writes it: normalization, ReLU in place, and `+=`."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.relu(out)


class Functional(nn.Module):
    """All activations are functions, one of them in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.last(torch.tanh(self.second(F.relu(self.first(x), inplace=True))))


class Shared(nn.Module):
    """One layer is called three times."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(5, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        h = self.first(x)
        for _ in range(3):
            h = torch.tanh(self.again(h))
        return self.last(h)


@dataclass
class Answer:
    scores: Tensor
    hidden: Tensor


class Structured(nn.Module):
    """Outputs as a tuple, a dict or a dataclass."""

    def __init__(self, form: str):
        super().__init__()
        self.form, self.first, self.last = form, nn.Linear(5, 16), nn.Linear(16, 4)

    def forward(self, x):
        hidden = self.first(x).tanh()
        scores = self.last(hidden)
        return {
            "tuple": (scores, hidden),
            "dict": {"scores": scores, "hidden": hidden},
            "dataclass": Answer(scores, hidden),
        }[self.form]


class Recurrent(nn.Module):
    def __init__(self, cell: type[nn.RNNBase], *, state: bool = False):
        super().__init__()
        self.state, self.cell, self.last = state, cell(5, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x):
        out, state = self.cell(x)
        state = state[0] if isinstance(state, tuple) else state
        return self.last(state[-1] if self.state else out[:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(5, 1, batch_first=True), nn.Linear(5, 4)

    def forward(self, x):
        return self.last(self.attention(x, x, x)[0].mean(1))


class Tied(nn.Module):
    """Embedding and output share their weight."""

    def __init__(self):
        super().__init__()
        self.embedding, self.middle, self.last = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 9, bias=False)
        self.last.weight = self.embedding.weight

    def forward(self, ids):
        return self.last(self.middle(self.embedding(ids)).tanh())


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool):
        super().__init__()
        self.reentrant = reentrant
        self.first, self.body, self.last = (
            nn.Linear(5, 16),
            nn.Sequential(nn.Linear(16, 16), nn.Tanh()),
            nn.Linear(16, 4),
        )

    def forward(self, x):
        return self.last(checkpoint(self.body, self.first(x), use_reentrant=self.reentrant))


class Autocast(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.body(x)


class Spectrum(nn.Module):
    """A layer inside has complex outputs."""

    def __init__(self):
        super().__init__()
        self.rotation, self.last = nn.Linear(5, 5, dtype=torch.complex64), nn.Linear(5, 4)

    def forward(self, x):
        return self.last(self.rotation(x.to(torch.complex64)).abs())


class Quantizer(nn.Module):
    def forward(self, x):
        return x.argmax(-1)


class Codebook(nn.Module):
    """A layer inside has integer outputs."""

    def __init__(self):
        super().__init__()
        self.first, self.quantizer, self.table, self.last = (
            nn.Linear(5, 6),
            Quantizer(),
            nn.Embedding(6, 6),
            nn.Linear(6, 4),
        )

    def forward(self, x):
        h = self.first(x)
        return self.last(h + self.table(self.quantizer(h)))


class Stateful(nn.Module):
    """Counts its calls, keeps what it saw, changes a buffer, and draws from every stream."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.calls, self.seen, self.notes = nn.Linear(5, 16), nn.Linear(16, 4), 0, [], {}
        self.register_buffer("average", torch.zeros(16))
        self.scale = torch.ones(16)  # a tensor that is neither parameter nor buffer

    def forward(self, x):
        self.calls += 1
        with torch.no_grad():
            self.first.weight.clamp_(-0.4, 0.4)
            self.scale.mul_(0.99)
        h = F.dropout(self.first(x)).tanh() * self.scale
        with torch.no_grad():
            self.average.mul_(0.9).add_(h.mean(0))
        self.seen.append(h)
        self.notes["last"] = h
        self.fresh = h
        return self.last(h) * (1 + 1e-3 * random.random())


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 16), nn.Linear(16, 4)

    def forward(self, *, features, mask=None):
        return self.last(self.first(features).tanh() if mask is None else (self.first(features) * mask).tanh())


class Changing(nn.Module):
    """Overwrites its inputs."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 16), nn.SiLU(inplace=True), nn.Linear(16, 4))

    def forward(self, x):
        x *= 2.0
        return self.body(x)


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    model[0].requires_grad_(False)
    model[2].eval()
    return model


def unused() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 4))
    model.register_parameter("spare", nn.Parameter(torch.ones(3, 3)))
    return model


def parametrized() -> nn.Module:
    first = nn.utils.parametrizations.weight_norm(nn.Linear(5, 16))
    return nn.Sequential(first, nn.Tanh(), nn.utils.parametrizations.spectral_norm(nn.Linear(16, 4)))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(5, 1, 16, dropout=0.1, batch_first=True, norm_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(30, 4))


class Output(OrderedDict):
    """Answers as large libraries give them: the loss first, entries as attributes too, and no changes."""

    def __init__(self, **entries):
        super().__init__()
        for name, entry in entries.items():
            OrderedDict.__setitem__(self, name, entry)
        self.__dict__.update(entries)

    def update(self, *_, **__):
        raise TypeError("You cannot use `update` on an Output")

    def __setitem__(self, *_):
        raise TypeError("You cannot set entries of an Output")


@dataclass
class Kind:
    problem: str | None = None
    calls: int = 0


class Settings:
    """What a model is told, and what it adds to that."""

    def __init__(self):
        self.kind, self.seen, self.sizes = Kind(), deque(maxlen=3), {"batch": []}


class Told(nn.Module):
    """Keeps settings, a stream of its own and caches in attributes, changes them all, and answers with an Output."""

    def __init__(self):
        super().__init__()
        self.settings, self.stream = Settings(), torch.Generator().manual_seed(1)
        self.body, self.cache, self.pair = plain(), {"last": {"mean": torch.zeros(4)}}, (torch.ones(1), "scale")

    def forward(self, x, labels=None):
        settings = self.settings
        settings.kind.problem, settings.kind.calls = "classes", settings.kind.calls + 1
        settings.seen.append(len(x))
        settings.sizes["batch"].append(len(x))
        scores = self.body(x + 1e-3 * torch.randn(x.shape, generator=self.stream)) * self.pair[0].clone()
        self.cache["last"]["mean"].copy_(scores.detach().mean(0))
        self.pair[0].mul_(1)
        labels = torch.zeros(len(x), dtype=torch.long) if labels is None else labels
        return Output(loss=F.cross_entropy(scores, labels), scores=scores)


class AsksForSlopes(nn.Module):
    """Wants the gradients of its inputs, and says so to them."""

    def __init__(self):
        super().__init__()
        self.body = plain()

    def forward(self, x):
        x.requires_grad = True
        h = x[:, None]
        return self.body(h[:, 0])


def plain(inputs: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 4))


ARCHITECTURES = {
    "multilayer perceptron": lambda: (plain(), torch.randn(BATCH, 5), classes()),
    "in-place ReLU": lambda: (
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), Residual(6), Residual(6), nn.Flatten(), nn.Linear(384, 4)),
        images(),
        classes(),
    ),
    "functional": lambda: (Functional(), torch.randn(BATCH, 5), classes()),
    "shared": lambda: (Shared(), torch.randn(BATCH, 5), classes()),
    "tuple": lambda: (Structured("tuple"), torch.randn(BATCH, 5), classes()),
    "dict": lambda: (Structured("dict"), torch.randn(BATCH, 5), classes()),
    "dataclass": lambda: (Structured("dataclass"), torch.randn(BATCH, 5), classes()),
    "RNN": lambda: (Recurrent(nn.RNN), sequences(), classes()),
    "LSTM": lambda: (Recurrent(nn.LSTM), sequences(), classes()),
    "GRU, by its state": lambda: (Recurrent(nn.GRU, state=True), sequences(), classes()),
    "attention": lambda: (Attention(), sequences(), classes()),
    "transformer": lambda: (transformer(), sequences(), classes()),
    "tied weights": lambda: (
        Tied(),
        torch.arange(BATCH * 6).reshape(BATCH, 6) % 9,
        torch.arange(BATCH * 6).reshape(BATCH, 6) % 9,
    ),
    "checkpointed": lambda: (Checkpointed(reentrant=False), torch.randn(BATCH, 5), classes()),
    "checkpointed, reentrant": lambda: (Checkpointed(reentrant=True), torch.randn(BATCH, 5), classes()),
    "autocast": lambda: (Autocast(), torch.randn(BATCH, 5), classes()),
    "complex": lambda: (Spectrum(), torch.randn(BATCH, 5), classes()),
    "integer": lambda: (Codebook(), torch.randn(BATCH, 5), classes()),
    "stateful": lambda: (Stateful(), torch.randn(BATCH, 5), classes()),
    "keywords": lambda: (Keywords(), {"features": torch.randn(BATCH, 5), "mask": torch.ones(BATCH, 16)}, classes()),
    "changes its inputs": lambda: (Changing(), torch.randn(BATCH, 5), classes()),
    "frozen": lambda: (frozen(), torch.randn(BATCH, 5), classes()),
    "unused parameter": lambda: (unused(), torch.randn(BATCH, 5), classes()),
    "parametrized": lambda: (parametrized(), torch.randn(BATCH, 5), classes()),
    "settings": lambda: (Told(), torch.randn(BATCH, 5), classes()),
    "leaves of its own": lambda: (AsksForSlopes(), torch.randn(BATCH, 5), classes()),
    "single layer": lambda: (nn.Linear(5, 4), torch.randn(BATCH, 5), classes()),
    "float64": lambda: (plain().double(), torch.randn(BATCH, 5).double(), classes()),
    "bfloat16": lambda: (plain().bfloat16(), torch.randn(BATCH, 5).bfloat16(), classes()),
    "batch of one": lambda: (plain(), torch.randn(1, 5), classes()[:1]),
}


def build(name: str) -> tuple[nn.Module, object, Tensor]:
    """One of the architectures, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ARCHITECTURES[name]()
