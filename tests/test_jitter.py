"""A processor that is not here: what is rounded moves by about one unit, what is not stays, and nothing is left behind."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from torch import nn

from d2lstab import seeded
from d2lstab.randomness import normal
from tests.jitter import Jitter

TESTS = Path(__file__).parent
X, W = normal(300, 40, generator=seeded(0)), normal(30, 40, generator=seeded(1))

pytestmark = pytest.mark.exact("the emulation itself is under test")

ROUNDED = {
    "product": lambda: X @ W.T,
    "affine": lambda: nn.functional.linear(X, W, torch.ones(30)),
    "convolution": lambda: nn.functional.conv2d(X.view(3, 10, 20, 20), W.view(10, 10, 3, 4)),
    "sum": lambda: X.sum(0),
    "mean in float64": lambda: X.double().mean(1),
    "exp": lambda: X.exp(),
    "tanh": lambda: X.tanh(),
    "softmax": lambda: X.softmax(1),
    "several results": lambda: torch.var_mean(X, 1)[0],
    "gathered gradients": lambda: torch.zeros(40).index_put_((torch.arange(300) % 40,), X[:, 0], accumulate=True),
    "in place": lambda: X.clone().exp_(),
    "under vmap": lambda: torch.vmap(lambda x: x @ W.T)(X),
    "backward": lambda: torch.autograd.grad((X @ (w := W.T.clone().requires_grad_())).square().sum(), w)[0],
}


def inside(compute, seed=0):
    with Jitter(seed):
        return compute()


@pytest.mark.parametrize("name", ROUNDED)
def test_what_is_rounded_moves_by_about_one_unit_half_of_the_time(name):
    compute = ROUNDED[name]
    plain, moved = compute(), inside(compute)
    assert torch.equal(plain, compute())  # nothing is left behind
    shift = (moved.double() / plain.double() - 1).abs() / torch.finfo(plain.dtype).eps
    if name != "backward":  # the sum of two roundings
        assert float(shift.max()) <= 1.5  # a factor of 1 + ε, rounded
    assert 0.3 < float((shift > 0).double().mean()) < (0.7 if name != "backward" else 1)
    assert ((moved > plain).any(), (moved < plain).any()) == (True, True)


@pytest.mark.parametrize("name", ROUNDED)
def test_the_same_arithmetic_gives_the_same_bits_and_another_processor_others(name):
    first, again, other = (inside(ROUNDED[name], seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


EXACT = {
    "copies": lambda: X.flip(0),
    "comparisons": lambda: W[0] < X,
    "sums of two": lambda: X + W[0],
    "products of two, quotients, roots": lambda: (X * W[0] / 3).abs().sqrt(),
    "squares": lambda: X**2,
    "ReLU": lambda: X.relu(),
    "counts": lambda: (X > 0).float().sum(),
    "a constant's exp": lambda: torch.zeros(5).exp(),
    "powers of two": lambda: 2.0 ** torch.arange(5.0),
    "one term": lambda: X @ (8 * torch.eye(40)),
    "nothing": lambda: X @ torch.zeros(40, 5),
    "a saturated tanh": lambda: (100 * X).abs().add(20).tanh(),
    "infinities": lambda: torch.tensor([1e3, torch.inf]).exp(),
    "integers": lambda: torch.arange(10).sum(),
    "assignments": lambda: X.clone().index_put_((torch.tensor([1, 3]),), X[[7, 9]]),
    "an empty one": lambda: torch.empty(0).exp(),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_is_exact_on_every_processor_stays(name):
    assert torch.equal(inside(EXACT[name]), EXACT[name]())


def test_nan_stays_nan():
    assert inside(lambda: torch.tensor([torch.nan, -1.0]).log()).isnan().all()


def test_equal_rows_are_no_longer_equal_and_a_row_does_not_feel_its_neighbours():
    equal = inside(lambda: X[:1].expand(300, 40).contiguous() @ W.T)
    assert len(equal.unique(dim=0)) > 1
    changed = X.clone()
    changed[-1] += 1
    assert torch.equal(inside(lambda: X @ W.T)[:-1], inside(lambda: changed @ W.T)[:-1])


def test_a_function_does_not_know_places():
    assert len(inside(lambda: X[0].expand(300, 40).contiguous().exp()).unique(dim=0)) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_move_seldom(dtype):
    def compute():
        return X.to(dtype) @ W.T.to(dtype)

    share = (inside(compute) != compute()).double().mean()
    assert 0.01 < float(share) < 0.2


@pytest.mark.slow
def test_the_option_reaches_tests_and_the_kernels_of_chapters_and_stays_away_from_exact_ones(tmp_path):
    root = TESTS.parent
    torch.save(torch.linspace(0.1, 1, 100).exp(), tmp_path / "plain.pt")
    near, equal = (
        f"torch.{how}(torch.linspace(0.1, 1, 100).exp(), torch.load('plain.pt'))" for how in ("allclose", "equal")
    )
    cells = []
    for count, source in enumerate((f"import torch\n{near}", equal), start=1):
        output = nbformat.v4.new_output("execute_result", data={"text/plain": "True"}, execution_count=count)
        cells.append(nbformat.v4.new_code_cell(source, outputs=[output], execution_count=count))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "chapter.ipynb")
    mark = "@pytest.mark.exact('so')"  # not at the beginning of a line: it is none of this file's
    tests = f"""
import pytest, torch
def test_near():
    assert {near}
def test_equal():
    assert {equal}
{mark}
def test_exact():
    assert {equal}
"""
    (tmp_path / "test_bits.py").write_text(tests)
    (tmp_path / "conftest.py").write_text((root / "conftest.py").read_text())
    command = "-m pytest --nbval --nbval-current-env -p no:cacheprovider -v --jitter 3 --rootdir".split()
    done = subprocess.run(
        [sys.executable, *command, tmp_path], cwd=tmp_path, check=False, capture_output=True, text=True,
        timeout=120, env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    cells = re.findall(r"::Cell \d (PASSED|FAILED)", done.stdout)
    assert cells == ["PASSED", "FAILED"], done.stdout
    fates = dict(re.findall(r"::test_(\w+) (PASSED|FAILED)", done.stdout))
    assert fates == {"near": "PASSED", "equal": "FAILED", "exact": "PASSED"}, done.stdout


def test_few_tests_are_marked_exact_and_each_says_why():
    marks = [
        (path.name, reason)
        for path in sorted(TESTS.glob("test_*.py"))
        for reason in re.findall(
            r"^(?:pytestmark = |@)pytest\.mark\.exact\(([^\n]*)\)$", path.read_text(), re.MULTILINE
        )
    ]
    assert [name for name, _ in marks] == ["test_fuzz.py", "test_jitter.py", "test_monitoring.py"]
    assert all(len(reason) > 10 for _, reason in marks)
