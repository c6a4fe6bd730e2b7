"""Several strange arguments at once, drawn: a result, or an error that says what was given and what is expected."""

import contextlib
import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.small_calls import SMALL, call, invoke
from tests.test_signatures import OF_THE_USER

pytestmark = pytest.mark.exact("an error that comes through the emulation's code passes for one of the user's code")
SIZES = st.lists(st.sampled_from([0, 1, 2, 3, 6]), max_size=4).map(tuple)
DTYPES = st.sampled_from(
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8]
    + [torch.bool, torch.complex64]
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 3, 2**31, 10**12, 10**400, 0.0, -0.0, 0.5, -1.5, 1e-300, 1e308, 5e-324]),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), True, False, 1j, np.float64(0.5), np.int64(2)]),
)


@st.composite
def tensors(draw) -> Tensor:
    """A tensor of any shape, dtype, layout and kind of content."""
    fill = draw(st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e30, float("nan"), float("inf")]))
    made = torch.full(draw(SIZES), fill, device="cpu").to(draw(DTYPES))
    kind = draw(st.sampled_from(["dense"] * 6 + ["sparse", "meta", "a gradient", "an array"]))
    if kind == "sparse":
        return made.float().to_sparse()
    if kind == "a gradient":
        return made.float().requires_grad_()
    if kind == "an array":
        return made.float().numpy()  # pyright: ignore[reportReturnType]
    return made.to("meta") if kind == "meta" else made


def returning(answer: Callable[[Any], Any]) -> Callable[..., Any]:
    """A function of anything, which does to its first argument what a user's function may do by mistake."""

    def mistaken(*arguments, **settings):
        return answer(arguments[0] if arguments else None)

    return mistaken


ANSWERS: list[Callable[[Any], Any]] = [
    lambda first: None,
    lambda first: "x",
    lambda first: 1.0,
    lambda first: first,
    lambda first: torch.zeros(0, device="cpu"),
    lambda first: torch.full((7,), float("nan"), device="cpu"),
    lambda first: (first, first),
    lambda first: nn.Identity(),
    lambda first: first.to(torch.complex64) if isinstance(first, Tensor) else first,
    lambda first: first.flatten()[:1] if isinstance(first, Tensor) else first,
]
VALUES = st.recursive(
    st.one_of(
        NUMBERS,
        tensors(),
        st.sampled_from(ANSWERS).map(returning),
        st.sampled_from([None, "", "relu", b"x", int, nn.ReLU, object(), torch.int8, torch.float64, range(3)]),
        st.builds(nn.Linear, st.just(2), st.just(2)),
        st.builds(nn.ReLU),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(["a", 1]), inner, max_size=2),
    ),
    max_leaves=3,
)


def tell(name: str, changed: dict[str, Any]) -> None:
    """Calls with these arguments among good ones, and fails where an error does not say what is expected."""
    function, arguments = call(name)
    of_the_user = {(name, argument) for argument in changed} & OF_THE_USER
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            invoke(function, arguments | changed)
    except AssertionError:
        assert name == "claim"
    except Exception as error:
        told = isinstance(error, (TypeError, ValueError)) and re.match(r".+\nexpected \S", str(error), re.DOTALL)
        if not told and not of_the_user:
            raise
    finally:
        plt.close("all")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SMALL)
@settings(
    max_examples=12, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.data())
def test_strange_arguments_together_are_taken_or_told(name, data):
    arguments = sorted(call(name).arguments)
    if arguments:
        changed = data.draw(st.lists(st.sampled_from(arguments), min_size=1, max_size=3, unique=True))
        tell(name, {argument: data.draw(VALUES, label=argument) for argument in changed})


FUNCTIONS = [(name, argument) for name in SMALL for argument, good in call(name).arguments.items() if callable(good)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "argument"), FUNCTIONS)
def test_functions_that_answer_with_anything_are_taken_or_told(name, argument):
    for answer in ANSWERS:
        tell(name, {argument: returning(answer)})
