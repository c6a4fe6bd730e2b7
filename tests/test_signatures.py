"""Whatever is given to whatever is offered: a result, or an error that says what was given and what is expected."""

import contextlib
import inspect
import io
import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

import d2lstab
from d2lstab.signatures import checked
from tests.public import PUBLIC
from tests.small_calls import SMALL, call, invoke

RESULTS = {
    name for name, thing in PUBLIC.items() if isinstance(thing, type) and name not in SMALL
}  # what functions return: nobody makes them by hand


def ones(*shape: int, **settings) -> torch.Tensor:
    return torch.ones(*shape, device=settings.pop("device", "cpu"), **settings)


def nothing(*arguments, **settings) -> None:
    return None


HOSTILE = {
    "nothing": lambda: None,
    "text": lambda: "x",
    "bytes": lambda: b"x",
    "a list": lambda: [1.0, 2.0],
    "an empty list": list,
    "a list of text": lambda: ["x"],
    "an array": lambda: np.ones((2, 3)),
    "a dict": lambda: {"a": 1},
    "a set": lambda: {1},
    "an object": object,
    "a bool": lambda: True,
    "a negative number": lambda: -1,
    "zero": lambda: 0,
    "a half": lambda: 0.5,
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "a huge whole number": lambda: 10**30,
    "a huge number": lambda: 1e308,
    "a complex number": lambda: 1j,
    "an empty tensor": lambda: ones(0),
    "a tensor without columns": lambda: ones(3, 0),
    "a scalar": lambda: ones(()),
    "a tensor of NaN": lambda: torch.full((2, 6), float("nan"), device="cpu"),
    "complex": lambda: ones(2, 6, dtype=torch.complex64),
    "whole numbers": lambda: ones(2, 6, dtype=torch.long),
    "bools": lambda: ones(2, 6, dtype=torch.bool),
    "eight bits": lambda: ones(2, 6).to(torch.float8_e5m2),
    "half precision": lambda: ones(2, 6).half(),
    "sparse": lambda: ones(2, 6).to_sparse(),
    "meta": lambda: ones(2, 6, device="meta"),
    "five axes": lambda: ones(2, 1, 1, 1, 1),
    "a function": lambda: nothing,
    "a module": lambda: nn.Linear(2, 2, device="cpu"),
    "a class": lambda: int,
    "an iterator": lambda: iter(range(2)),
    "a dtype": lambda: torch.int64,
    "a figure": plt.figure,
}
# What these run is the user's own, and what it raises passes through.
OF_THE_USER = {("diagnose", "inputs"), ("diagnose", "model"), ("record", "model"), ("live", "0")}
OF_THE_USER |= {("train", name) for name in ("make_model", "optimizer", "loss", "clip", "schedule")}
OF_THE_USER |= {("trainability_map", "optimizer")}
OF_THE_USER |= {("coordinate_check", name) for name in ("make_model", "inputs", "targets", "optimizer", "loss")}
DRAWS = {"Attention", "Embedding"}  # from the global stream, as torch's modules do


def test_every_function_and_class_that_is_offered_has_a_small_call():
    callables = {name for name, thing in PUBLIC.items() if callable(thing)}
    assert callables - RESULTS - SMALL.keys() == {"Activation"}
    assert {"Propagation", "Diagnosis", "Signals"} < RESULTS


@pytest.mark.parametrize("name", SMALL)
def test_the_small_call_is_a_good_one(name):
    call(name)()
    plt.close("all")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SMALL)
def test_strange_arguments_are_taken_or_told(name):
    told = []
    for argument in call(name).arguments:
        for kind, make in HOSTILE.items():
            function, arguments = call(name)
            arguments[argument] = make()
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    invoke(function, arguments)
            except (TypeError, ValueError) as error:
                if not re.match(r".+\nexpected \S", str(error), re.DOTALL) and (name, argument) not in OF_THE_USER:
                    told.append(f"{argument}: {kind}: {type(error).__name__}: {error}")
            except AssertionError as error:  # a claim that is not so
                if name != "claim":
                    told.append(f"{argument}: {kind}: {error}")
            except Exception as error:  # noqa: BLE001  anything else is what this looks for
                if (name, argument) not in OF_THE_USER:
                    told.append(f"{argument}: {kind}: {type(error).__name__}: {error}")
        plt.close("all")
    assert told == []


# The decorator


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("train", {"lr": 0.1}, "'lr'\nexpected optimizer=partial(torch.optim.SGD, lr=0.1)"),
        ("chi", {"f": torch.tanh}, "'f'\nexpected activation="),
        ("isometry", {"network": nn.Linear(2, 2), "x": ones(1, 2)}, "\nexpected inputs=, model="),
        ("mlp", {"depth": 3}, "'depth'\nexpected widths, activation, initializer, norm, bias, seed, dtype, device"),
        ("ulp", {}, "missing 2 required positional arguments: 'x' and 'dtype'\nexpected x, dtype"),
    ],
)
def test_a_name_that_is_not_there_is_answered_by_those_that_are(name, wrong, told):
    with pytest.raises(TypeError, match=rf"^{name}\(\) .*{re.escape(told)}$"):
        PUBLIC[name](**wrong)


def test_an_argument_too_many_is_answered_by_those_that_there_are():
    with pytest.raises(
        TypeError, match="takes 3 positional arguments but 4 were given\nexpected activation, q, sigma_w$"
    ):
        PUBLIC["chi"](torch.tanh, 1.0, 1.0, 0.0)


def test_a_checked_function_is_itself_to_those_who_look():
    assert inspect.signature(d2lstab.mlp).parameters.keys() >= {"widths", "activation", "seed"}
    assert d2lstab.mlp.__doc__.startswith("A fully connected network")
    assert d2lstab.mlp.__module__ == "d2lstab.networks.plain"


@checked
def sample_(
    x: torch.Tensor, count: int = 1, *, scale: float | None = None, names: "list[str] | None" = None, flag: bool = False
) -> tuple:
    return x, count, scale, names, flag


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"x": [1.0]}, TypeError, "x of type list\nexpected a tensor"),
        ({"x": ones(2), "count": 1.0}, ValueError, "count=1.0 of type float\nexpected a whole number"),
        ({"x": ones(2), "count": True}, ValueError, "count=True of type bool\nexpected a whole number"),
        ({"x": ones(2), "scale": "2"}, ValueError, "scale='2' of type str\nexpected a finite number"),
        ({"x": ones(2), "scale": 10**400}, ValueError, "scale=1000"),
        ({"x": ones(2), "names": "ab"}, TypeError, "names='ab' of type str\nexpected a list"),
        ({"x": ones(2), "names": [1]}, TypeError, "names of type list\nexpected text"),
        ({"x": ones(2), "flag": 1}, TypeError, "flag=1 of type int\nexpected True or False"),
        (
            {"x": ones(2).to_sparse()},
            ValueError,
            "x of shape (2,), torch.float32, torch.sparse_coo on cpu\nexpected a dense",
        ),
    ],
)
def test_it_says_what_was_given_and_what_is_expected(arguments, error, told):
    with pytest.raises(error) as caught:
        sample_(**arguments)
    assert str(caught.value).startswith(told)


def test_it_lets_through_what_is_right():
    x = ones(2)
    for count in (2, np.int64(2), torch.tensor(2, device="cpu")):
        for scale in (None, 1, 0.5, np.float32(0.5), torch.tensor(0.5, device="cpu"), float("inf")):
            assert sample_(x, count, scale=scale, names=["a"], flag=True)[0] is x
    with pytest.raises(TypeError, match="missing a required argument|missing 1 required"), warnings.catch_warnings():
        sample_()


# Surroundings


@pytest.mark.parametrize("name", SMALL)
def test_a_default_device_changes_nothing(name):
    """Every tensor that the package makes names its device: here the default one has no numbers at all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = flat(call(name)())
        torch.manual_seed(0)
        prepared = call(name)
    try:
        with torch.device("meta"):
            found = prepared()
    finally:
        plt.close("all")
    for one, other in zip(expected, flat(found), strict=True):
        assert other.device.type == "cpu"
        if name in DRAWS:
            continue
        torch.testing.assert_close(one, other, equal_nan=True)


def flat(thing) -> list[torch.Tensor]:
    """The tensors in a result, a module or a collection."""
    if isinstance(thing, torch.Tensor):
        return [thing.detach()]
    if isinstance(thing, nn.Module):
        return [tensor.detach() for tensor in thing.state_dict().values()]
    if isinstance(thing, (list, tuple)):
        return [tensor for each in thing for tensor in flat(each)]
    if isinstance(thing, dict):
        return flat(list(thing.values()))
    if isinstance(thing, d2lstab.results.Result):
        return flat([value for value in vars(thing).values() if isinstance(value, (torch.Tensor, tuple))])
    return []


@pytest.mark.parametrize("name", [name for name in SMALL if name not in DRAWS])
def test_no_gpu_is_seeded_but_the_models_own(name, monkeypatch):
    """torch.manual_seed seeds every GPU there is, of which nobody keeps the streams."""

    def refuse(seed):
        raise AssertionError("all GPUs were seeded")

    prepared = call(name)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    before = torch.get_rng_state()
    prepared()
    assert torch.equal(before, torch.get_rng_state())
    plt.close("all")


# What is not the arguments' fault


@checked
def runs(f, count: int = 1) -> None:
    f()


def boom() -> None:
    raise RuntimeError("mine")


def test_an_error_of_the_users_own_code_passes_through_whatever_else_was_given():
    with pytest.raises(RuntimeError, match="mine"):
        runs(boom, count=1.5)


def test_a_claim_that_is_not_so_is_an_assertion_whatever_its_numbers_came_in():
    with pytest.raises(AssertionError, match="rows: 1, 2"):
        d2lstab.claim("rows", [[1.0, 2.0]], above=3)


def test_what_torch_does_not_compute_in_a_model_is_the_models_error():
    class Inverting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3, device="cpu")

        def forward(self, x):
            return self.layer(x).to(torch.float8_e5m2).exp()

    with pytest.raises(RuntimeError, match="not implemented for 'Float8"):
        d2lstab.diagnose(Inverting(), ones(3, 3))
    with pytest.raises(RuntimeError, match="not implemented for 'Float8"), d2lstab.record(Inverting()):
        Inverting()(ones(3, 3))
