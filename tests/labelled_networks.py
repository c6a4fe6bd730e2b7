"""150 networks with labels from real training (tests/trainability.jsonl): what is trainable, as a fact.

Each was trained on the real 8×8 digits for up to 300 steps with SGD (rates 1e-4 … 1e-1, momentum 0.9) and with Adam
(1e-4 … 1e-2). Label 1: accuracy of at least 0.8 at the best rate; 0: below 0.5; None: in between.
"""

import json
import math
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

ACTIVATIONS = {
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU, "silu": nn.SiLU, "selu": nn.SELU, "linear": nn.Identity,
}  # fmt: skip
NORMS = {"bn": (nn.BatchNorm1d, nn.BatchNorm2d), "ln": (nn.LayerNorm, lambda width: nn.GroupNorm(1, width))}


def configurations() -> list[dict]:
    return [json.loads(line) for line in (Path(__file__).parent / "trainability.jsonl").read_text().splitlines()]


def samples(config: dict, n: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    """Digits and their classes, as this network takes them."""
    x, y = (torch.tensor(each) for each in load_digits(return_X_y=True))
    x = x.float()
    x = (x - x.mean()) / x.std() * config["input_scale"] + config["input_shift"]
    shape = {"cnn": (1, 8, 8), "rnn": (-1, config.get("px")), "transformer": (-1, config.get("px"))}
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(1000))[:n]
    return x[chosen].view(n, *shape.get(config["family"], (64,))), y[chosen]


def network(config: dict) -> nn.Module:
    """The network of this configuration; the same numbers for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        made = _FAMILIES[config["family"]](config)
        _initialize(made, config)
    return made


class _Stack(nn.Module):
    """Layers, each with a norm and an activation, and a linear head."""

    def __init__(self, config: dict):
        super().__init__()
        image, width = config["family"] == "cnn", config["width"]
        layers, size = [], 1 if image else 64
        for i in range(config["depth"]):
            layers.append(nn.Conv2d(size, width, 3, padding=1) if image else nn.Linear(size, width))
            layers += [NORMS[config["norm"]][image](width)] if config["norm"] in NORMS else []
            layers += [ACTIVATIONS[config["act"]]()] + [nn.AvgPool2d(2)] * (image and i == 0)
            size = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(size * 16 if image else size, 10)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


class _Branch(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        width = config["width"]
        self.norm = NORMS[config["norm"]][0](width) if config["norm"] in NORMS else nn.Identity()
        self.first, self.act, self.second = (
            nn.Linear(width, width),
            ACTIVATIONS[config["act"]](),
            nn.Linear(width, width),
        )
        self.scale = config["branch_scale"]

    def forward(self, x):
        return x + self.scale * self.second(self.act(self.first(self.norm(x))))


class _Residual(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        width = config["width"]
        self.stem = nn.Linear(64, width)
        self.body = nn.Sequential(*[_Branch(config) for _ in range(config["depth"])])
        self.norm = nn.LayerNorm(width) if config["final_norm"] else nn.Identity()
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.norm(self.body(self.stem(x))))


class _Recurrent(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        kind, _, nonlinearity = config["cell"].partition("_")
        options = {"nonlinearity": nonlinearity} if nonlinearity else {}
        made = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]
        self.body = made(config["px"], config["width"], config["depth"], batch_first=True, **options)
        self.head = nn.Linear(config["width"], 10)

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])


class _Transformer(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        width, first = config["width"], config["ln"] == "pre"
        self.embed = nn.Linear(config["px"], width)
        self.position = nn.Parameter(torch.randn(1, 64 // config["px"], width) * 0.02)
        options = {"dropout": 0.0, "activation": config["act"], "batch_first": True, "norm_first": first}
        layers = [nn.TransformerEncoderLayer(width, 2, 2 * width, **options) for _ in range(config["depth"])]
        self.body = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width) if first else nn.Identity()
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.norm(self.body(self.embed(x) + self.position)).mean(1))


_FAMILIES = {"mlp": _Stack, "cnn": _Stack, "resmlp": _Residual, "rnn": _Recurrent, "transformer": _Transformer}


def _fill(weight: torch.Tensor, how: dict) -> None:
    inputs, outputs = weight[0].numel(), len(weight) * weight[0, 0].numel()
    spread = {"xavier": 2 / (inputs + outputs), "he": 2 / inputs, "lecun": 1 / inputs, "normal": how.get("std", 0) ** 2}
    if how["name"] in spread:
        weight.normal_(0, math.sqrt(spread[how["name"]]))
    elif how["name"] == "orthogonal":
        nn.init.orthogonal_(weight)
    elif how["name"] == "identity":
        weight.copy_(torch.eye(len(weight)))
    elif how["name"] in ("zeros", "constant"):
        weight.fill_(how.get("value", 0.0))
    weight.mul_(how.get("mult", 1.0))


@torch.no_grad()
def _initialize(model: nn.Module, config: dict) -> None:
    init, bias, head = config["init"], config["bias"], model.head
    first = config.get("init_ih", init)  # of what reads the input
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            _fill(module.weight, first)
            if bias["name"] != "default":
                module.bias.fill_(0.0 if module is head else bias.get("value", 0.0))
        elif isinstance(module, nn.MultiheadAttention):
            _fill(module.in_proj_weight, init)
        elif isinstance(module, nn.RNNBase):
            for name, each in module.named_parameters():
                if name.startswith("weight"):
                    for gate in each.split(module.hidden_size):
                        _fill(gate, first if name.startswith("weight_ih") else init)
                elif bias["name"] != "default":
                    each.zero_()
                if isinstance(module, nn.LSTM) and name.startswith("bias_ih"):
                    each[module.hidden_size : 2 * module.hidden_size] += config.get("forget_bias", 0.0)
    if "dead_layer" in config or "zero_layer" in config:  # one layer sabotaged
        layers = [each for each in model.body if isinstance(each, (nn.Linear, nn.Conv2d))]
        if "dead_layer" in config:
            layers[config["dead_layer"] % len(layers)].bias.fill_(config["dead_value"])
        if "zero_layer" in config:
            for each in layers[config["zero_layer"] % len(layers)].parameters():
                each.zero_()
    head.weight.mul_(config["final_scale"])
    head.bias.mul_(min(config["final_scale"], 1.0))
