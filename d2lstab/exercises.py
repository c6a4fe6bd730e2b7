"""Answers that check themselves: feedback on the chapters' exercises."""

from collections.abc import Callable
from functools import partial
from math import log, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from .activations import dead_units
from .floats import describe
from .initializers import lecun_normal_, xavier_normal_
from .jacobians import input_jacobian, layer_jacobians
from .networks import mlp
from .products import critical_std, gaussian_lyapunov_exponents, random_product
from .propagation import depth_sweep
from .randomness import normal, seeded

# An exercise maps an answer to None if it is right, and otherwise to a hint that does not give it away.
EXERCISES: dict[str, Callable[[object], str | None]] = {}


def check(exercise: str, answer) -> None:
    """Prints whether the answer to an exercise is right, and a hint where it is not.

    exercise: its number, such as "03.2". answer: what the exercise asks for, a number or a function; None or
    `...` means not answered yet.
    Raises ValueError for a number that no exercise has.
    """
    if exercise not in EXERCISES:
        raise ValueError(f"exercise={exercise!r}\nexpected one of {', '.join(sorted(EXERCISES))}")
    if answer is None or answer is ...:
        print(f"{exercise} is waiting for your answer.")
        return
    try:
        hint = EXERCISES[exercise](answer)
    except Exception as error:  # noqa: BLE001  whatever an answer does, the learner gets a line, not our traceback
        hint = f"trying your answer gave {type(error).__name__}: {error}"
    print(f"{exercise} is right." if hint is None else f"{exercise} is not right yet: {hint}")


def _exercise(number: str):
    def enter(judge):
        EXERCISES[number] = judge
        return judge

    return enter


def _close(answer, expected: float, within: float, hint: str) -> str | None:
    value = float(answer)
    if abs(value - expected) <= within:
        return None
    return f"{value:.6g} is too {'small' if value < expected else 'large'}. {hint}"


@_exercise("01.1")
def _product_of_jacobians(answer) -> str | None:
    network = mlp([6, 7, 5, 3], torch.tanh, initializer=xavier_normal_, dtype=torch.float64)
    x = normal(6, generator=seeded(1), dtype=torch.float64)
    given = answer(layer_jacobians(network, x))
    expected = input_jacobian(network, x)
    if not isinstance(given, Tensor) or given.shape != expected.shape:
        return f"your function returned {getattr(given, 'shape', type(given))}; ∂o/∂h⁽⁰⁾ has as many rows as o and columns as h⁽⁰⁾."
    return (
        None if torch.allclose(given, expected) else "the shape is right, the entries are not. Which factor acts first?"
    )


@_exercise("01.2")
def _gradient_at_layer_3(answer) -> str | None:
    return _close(answer, 0.8**17, 1e-3, "Count the factors M⁽²⁰⁾ … M⁽⁴⁾; every singular value of each is 0.8.")


@_exercise("01.3")
def _layer_lost_in_half_precision(answer) -> str | None:
    limit, gradient, layer = describe(torch.float16).min_subnormal / 2, 0.01, 40
    while gradient > limit:
        gradient, layer = gradient * 0.6, layer - 1
    return _close(answer, layer, 0, "Below half of the smallest subnormal a number rounds to 0.")


@_exercise("02.1")
def _sigmoid_scale(answer) -> str | None:
    sweep = depth_sweep(partial(lecun_normal_, gain=float(answer)), torch.sigmoid, depth=10)
    growth = float(sweep.backward[:, 0].median())
    if abs(growth) <= log(2):
        return None
    word = "shrinks to" if growth < 0 else "grows to"
    return f"over 10 layers the mean squared gradient {word} {torch.tensor(growth).exp():.2g} of what it was; aim for 0.5 to 2."


@_exercise("02.2")
def _dead_units(answer) -> str | None:
    # Off for every input; off for a whole batch but not for the last input; always on; exactly at the kink.
    z = torch.tensor([[-1.0, -2.0, 3.0, 0.0], [-0.5, -1.0, 2.0, 0.0], [-2.0, 0.1, 1.0, 0.0]])
    cases = [(torch.relu, z), (F.leaky_relu, z), (torch.relu, z[:2])]
    for f, case in cases:
        expected, given = int(dead_units(f, case).sum()), int(answer(f, case))
        if given != expected:
            name = getattr(f, "__name__", "f")
            return f"for {name} and pre-activations {case.tolist()} it says {given}. A unit is dead if its slope is 0 for every row."
    return None


@_exercise("02.3")
def _gain_of_silu(answer) -> str | None:
    z = torch.linspace(-10, 10, 4001, dtype=torch.float64)
    density = torch.softmax(-z.square() / 2, dim=0)  # a Gaussian on a grid, summing to 1
    gain = 1 / sqrt(float((F.silu(z).square() * density).sum()))
    return _close(answer, gain, 0.005, "It is 1/√E[f(z)²] with z ~ N(0, 1): the second moment, not the variance.")


@_exercise("03.1")
def _top_exponent_of_16(answer) -> str | None:
    hint = "λ₁ = ½(ln 2 + ψ(n/2)); measured, a rate needs many factors and many trials."
    return _close(answer, float(gaussian_lyapunov_exponents(16)[0]), 0.005, hint)


@_exercise("03.2")
def _share_below_1e24(answer) -> str | None:
    largest = random_product(4, 101, trials=20_000).log10_entries.amax((1, 2))
    return _close(answer, float((largest < 24).double().mean()), 0.02, "Count, over many products of 101 factors.")


@_exercise("03.3")
def _std_at_which_half_shrink(answer) -> str | None:
    return _close(answer, critical_std(4), 0.006, "A typical product neither grows nor shrinks where λ₁ = 0.")
