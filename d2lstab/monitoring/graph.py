"""What a loss was computed with, read off its graph: where infinities come from that no layer shows."""

import re
from collections import deque
from typing import Any

from torch import Tensor

from ..diagnosis.origin import FORMULAS

_FURTHEST = 200  # operations from the loss
# Those that end in the network: what lies behind them is not the loss's.
_LAYERS = {"addmm", "mm", "convolution", "native_layer_norm", "native_batch_norm", "embedding", "bmm", "baddbmm"}
_ALIASES = {"linalg_vector_norm": "norm", "log2": "log", "log10": "log", "euclidean_dist": "dist", "cdist": "dist"}
_OF_LABELS = ("cross_entropy", "nll_loss", "binary_cross_entropy", "ctc_loss")  # no infinities but by what labels say
_OFTEN_HARMLESS = ("div", "mul", "where", "exp", "softmax", "logsumexp")


def suspicious_formula(loss: Any) -> tuple[str, str] | None:
    """The operation of a loss that makes infinities and NaN most easily, and how to write it instead; None without one.

    Of several the one that is nearest to the loss, and division, products and exponentials after all others.
    """
    near = [name for name in _operations(loss) if name in FORMULAS and name not in _OF_LABELS]
    ranked = sorted(near, key=lambda name: name in _OFTEN_HARMLESS)  # else in their order
    return (ranked[0], FORMULAS[ranked[0]]) if ranked else None


def _operations(loss: Any) -> list[str]:
    """The names of the operations between a loss and the last layers, the nearest first."""
    found, seen = [], set()
    waiting: deque[Any] = deque([loss.grad_fn] if isinstance(loss, Tensor) and loss.grad_fn is not None else [])
    while waiting and len(seen) < _FURTHEST:
        node = waiting.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", re.sub(r"Backward\d*$", "", node.name())).lower()
        name = _ALIASES.get(name, name)
        if name in _LAYERS:
            continue
        if not _by_a_constant(name, node):
            found.append(name)
        waiting.extend(following for following, _ in node.next_functions)
    return found


def _by_a_constant(name: str, node: Any) -> bool:
    """Whether it only divides or multiplies by what is not computed, or raises to a power of at least 1."""
    if name == "pow":
        exponent = getattr(node, "_saved_exponent", 0)
        return isinstance(exponent, (int, float)) and exponent >= 1
    return name in ("div", "mul") and sum(following is not None for following, _ in node.next_functions) < 2
