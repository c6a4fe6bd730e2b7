"""Rows of the table of exact and published values that this package can compute."""

import json
from pathlib import Path

import pytest

ROWS = {
    row["id"]: row
    for path in sorted(Path(__file__).with_name("truth").glob("*.json"))
    for row in json.loads(path.read_text())
}


def truth(*ids: str):
    """Parametrizes a test over the argument `row`."""
    return pytest.mark.parametrize("row", [ROWS[name] for name in ids], ids=ids)
