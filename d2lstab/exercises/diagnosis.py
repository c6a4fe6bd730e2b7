"""Exercises of chapter 13: what is wrong with a network."""

from copy import deepcopy
from functools import partial

import torch
from torch import nn

from ..datasets import Dataset, digits
from ..diagnosis import Diagnosis, diagnose
from ..initializers import he_normal_, normal_, xavier_normal_
from ..networks import mlp
from ..recording import Signals
from ..training import train
from .judging import exercise

_WIDTHS = [64] + [32] * 8 + [10]


def strangers() -> list[Signals]:
    """The signals of three networks on 64 digits, one row per layer call; what is wrong with them is not said."""
    return [report.signals for report in _reports()]


def _reports() -> list[Diagnosis]:
    data = digits()
    silent = mlp(_WIDTHS, torch.relu, initializer=he_normal_, seed=0)
    nn.init.constant_(silent.get_parameter("layer5.linear.bias"), -40.0)
    flat = mlp(_WIDTHS, torch.tanh, initializer=normal_, seed=0)
    with torch.no_grad():
        for parameter in flat.parameters():
            parameter.mul_(5.0)
    fading = mlp(_WIDTHS, torch.sigmoid, initializer=xavier_normal_, seed=0)
    return [diagnose(network, data.inputs[:64], data.targets[:64]) for network in (silent, flat, fading)]


@exercise("13.1")
def _three_strangers(answer) -> str | None:
    if isinstance(answer, str) or not hasattr(answer, "__len__") or len(answer) != 3:
        return "expected a list of three names of faults, keys of FAULTS."
    for number, (said, report) in enumerate(zip(answer, _reports()), 1):
        if said != report.verdict:
            return f"network {number} is not {said!r}. Look for the first column that is out of order, and where."
    return None


@exercise("13.2")
def _rule_for_a_bottleneck(answer) -> str | None:
    data = digits()
    for place in (None, 2, 4, 7):
        network = mlp(_WIDTHS, torch.relu, initializer=he_normal_, seed=1)
        if place is not None:
            with torch.no_grad():
                getattr(network, f"layer{place}").linear.weight.mul_(0.02)
        expected = None if place is None else f"layer{place}.linear"
        said = answer(diagnose(network, data.inputs[:16], data.targets[:16]).signals)
        if said != expected:
            return f"your rule named {said!r} where {expected!r} was planted."
    return None


@exercise("13.3")
def _a_patient_that_fools_it(answer) -> str | None:
    network, data = answer()
    if not isinstance(network, nn.Module) or not isinstance(data, Dataset):
        return "expected a function that returns a network and a Dataset."
    verdict = diagnose(network, data.inputs[:64], data.targets[:64]).verdict
    if verdict != "healthy":
        return f"it is not fooled: {verdict}."
    for optimizer in (partial(torch.optim.SGD, lr=0.03, momentum=0.9), partial(torch.optim.Adam, lr=1e-3)):
        history = train(lambda seed: deepcopy(network), data, optimizer=optimizer, steps=200, seeds=[0], progress=False)
        if float(history.accuracy) > 0.3:
            return f"it is healthy and learns: {float(history.accuracy):.0%} of the test examples are right."
    return None
