"""Exercises of chapter 10: rules for transformers."""

from .judging import close, exercise, number


@exercise("10.1")
def _exponent_of_the_last_gradient(answer) -> str | None:
    hint = "Average logarithms over several seeds. Theory: the weight's input carries beta, its gradient 1/alpha."
    return close(answer, -1 / 2, 0.05, hint)


@exercise("10.2")
def _half_of_the_difference(answer) -> str | None:
    hint = "Once tokens are alike, attention adds one vector to all: what becomes of x, and of D, in a block?"
    return close(answer, (2 ** (1 / 32) - 1) ** -0.5, 0.1, hint)


@exercise("10.3")
def _half_of_it_in_pre_norm(answer) -> str | None:
    factor = number(answer)
    x = apart = 1.0
    for _ in range(32):
        x += factor**2  # attention: one vector for all tokens
        x, apart = x + factor**2 / 2, apart * (1 + factor**2 / (2 * x))  # ReLU keeps half of both
    if abs(apart / x - 0.5) < 0.022:  # the factor to 0.01
        return None
    return f"a share of {apart / x:.3g} would be left. What does each branch add to x, and what to D?"
