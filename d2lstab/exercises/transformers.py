"""Exercises of chapter 10: rules for transformers."""

from .judging import close, exercise


@exercise("10.1")
def _exponent_of_the_last_gradient(answer) -> str | None:
    hint = "Average logarithms over several seeds. Theory: the weight's input carries beta, its gradient 1/alpha."
    return close(answer, -1 / 2, 0.05, hint)


@exercise("10.2")
def _half_of_the_difference(answer) -> str | None:
    hint = "Once tokens are alike, attention adds one vector to all: what becomes of x, and of D, in a block?"
    return close(answer, (2 ** (1 / 32) - 1) ** -0.5, 0.1, hint)


@exercise("10.3")
def _change_against_width(answer) -> str | None:
    hint = "A step of Adam moves each weight by the learning rate; a coordinate sums as many as the layer is wide."
    return close(answer, 1, 0.2, hint)
