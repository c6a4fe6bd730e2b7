"""Rows of the table of exact and published values that this package can compute."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

ROWS = {
    row["id"]: row
    for path in sorted(Path(__file__).with_name("truth").glob("*.json"))
    for row in json.loads(path.read_text())
}

NAMED = {
    "elu": F.elu,
    "erf": torch.erf,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "hardtanh": F.hardtanh,
    "leaky_relu_0.01": F.leaky_relu,
    "leaky_relu_0.2": partial(F.leaky_relu, negative_slope=0.2),
    "relu": torch.relu,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}  # the table's names for activations


def truth(*ids: str):
    """Parametrizes a test over the argument `row`."""
    return pytest.mark.parametrize("row", [ROWS[name] for name in ids], ids=ids)
