"""Exercises of chapter 10: rules for transformers."""

from ..initializers import deepnorm
from .judging import close, exercise


@exercise("10.1")
def _exponent_of_the_last_gradient(answer) -> str | None:
    hint = "Average logarithms over several seeds. Theory: the weight's input carries beta, its gradient 1/alpha."
    return close(answer, -1 / 2, 0.05, hint)


@exercise("10.2")
def _a_factor_of_four(answer) -> str | None:
    if not hasattr(answer, "__len__") or isinstance(answer, str) or len(answer) != 2:
        return "expected a pair of numbers, the number of blocks and beta."
    blocks = close(answer[0], 128, 0.5, "α⁴ = 2N.")
    return blocks or close(answer[1], deepnorm(128).beta, 5e-4, "β⁴ = 1/(8N).")


@exercise("10.3")
def _change_against_width(answer) -> str | None:
    hint = "A step of Adam moves each weight by the learning rate; a coordinate sums as many as the layer is wide."
    return close(answer, 1, 0.2, hint)
