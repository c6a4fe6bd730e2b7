"""Exercises of chapter 03: products of random matrices."""

from ..products import critical_std, gaussian_lyapunov_exponents, random_product
from .judging import close, exercise


@exercise("03.1")
def _top_exponent_of_16(answer) -> str | None:
    hint = "λ₁ = ½(ln 2 + ψ(n/2)); measured, a rate needs many factors and many trials."
    return close(answer, float(gaussian_lyapunov_exponents(16)[0]), 0.005, hint)


@exercise("03.2")
def _share_below_1e24(answer) -> str | None:
    largest = random_product(4, 101, trials=20_000).log10_entries.amax((1, 2))
    return close(answer, float((largest < 24).double().mean()), 0.02, "Count, over many products of 101 factors.")


@exercise("03.3")
def _std_at_which_half_shrink(answer) -> str | None:
    return close(answer, critical_std(4), 0.006, "A typical product neither grows nor shrinks where λ₁ = 0.")
