"""Every threshold of the diagnosis has a case just on either side: moved by half, either way, one of them fails."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache, cached_property
from itertools import count
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import seeded
from tests.threshold_cases import CASES, INSIDE, MODULES, evidence, row, rule, severe, through_time

pytestmark = pytest.mark.slow

# Numbers beside which no answer turns: what a measurement is made with, or how much is spent on it.
SETTINGS = {
    "attention": "_SAMPLES QUERIES",  # how many logits are computed once more
    "chaos": "_CHANGE",  # by how much inputs are moved: it is divided out again
    # By how much a layer is shaken, which is divided out as well, and how many steps:
    "evidence": "_SHAKEN _MOST_STEPS",  # test_zeros_behind_zeros_come_to_life_one_step_after_the_other counts them
    "operations": "_GROUPED",  # how much is spent, not what is said
    "phase_map": "_STACK",  # how many networks train together
    "rehearsal": "_CODE _SHIFTS _MIXED",  # the forecast was calibrated with them
    "untrained": "_STREAM",  # noise is drawn from it
    "tangent": "_KEPT _LEAST",  # entries that are kept in memory, and what rounding makes of an eigenvalue of 0
}
# Guards against a division by zero.
TINY = 1e-9


class Threshold(NamedTuple):
    """A number in the source, with the function whose comparison it is in, or the constant that it is."""

    module: ModuleType
    name: str  # of the function or constant
    value: float
    number: int  # of the node in the module's tree

    @property
    def label(self) -> str:
        return f"{self.module.__name__.rpartition('.')[2]}.{self.name}: {self.value:g}"

    def moved(self, factor: float) -> float:
        """The value times the factor, of whole numbers another whole one."""
        if isinstance(self.value, float):
            return self.value * factor
        return max(self.value + 1, int(self.value * factor)) if factor > 1 else int(self.value * factor)


@cache
def numbered(module: ModuleType) -> tuple[ast.Module, dict[ast.AST, int]]:
    tree = ast.parse(inspect.getsource(module))
    return tree, dict(zip(ast.walk(tree), count()))


def thresholds() -> Iterator[Threshold]:
    for module in MODULES.values():
        if module.__name__.startswith("d2lstab.monitoring.") and not module.__name__.endswith(".onsets"):
            continue  # these watch and do not judge
        tree, place = numbered(module)
        settings = SETTINGS.get(module.__name__.rpartition(".")[2], "").split()
        for node in tree.body:
            if isinstance(node, ast.Assign):
                pair = isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)
                names, values = (node.targets[0].elts, node.value.elts) if pair else (node.targets, [node.value])
                for name, value in zip(map(ast.unparse, names), values):
                    if is_number(value) and name not in settings:
                        yield Threshold(module, name, value.value, place[value])
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for compared in ast.walk(function):
                    for value in numbers_in(compared) if isinstance(compared, ast.Compare) else ():
                        yield Threshold(module, function.name, value.value, place[value])


def is_number(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and type(node.value) in (int, float)
        and abs(node.value) > TINY
        and node.value != 1
    )


def numbers_in(node: ast.AST) -> Iterator[ast.Constant]:
    """The numbers that a comparison weighs with, no index, power or count of axes, arguments or pairs among them."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        if any(ast.unparse(side).endswith(".dim()") or ast.unparse(side) == "len(args)" for side in sides):
            return
        for side in sides:
            if ast.unparse(side) != "2":
                yield from numbers_in(side)
    elif is_number(node):
        yield node
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield from numbers_in(node.left)
    elif not isinstance(node, ast.Subscript):
        for child in ast.iter_child_nodes(node):
            yield from numbers_in(child)


FOUND = list({each.label + str(each.number): each for each in thresholds()}.values())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_just_short_of_a_threshold_nothing_is_said_and_just_beyond_it_is(case):
    assert not case.asked(case.silent)
    assert case.asked(case.told)


@pytest.mark.parametrize("factor", [1.5, 1 / 1.5], ids=["larger", "smaller"])
@pytest.mark.parametrize("threshold", FOUND, ids=[each.label for each in FOUND])
def test_a_threshold_that_moves_is_noticed(threshold, factor, monkeypatch):
    move(threshold, threshold.moved(factor), monkeypatch)
    assert not all(holds(case) for case in CASES.values())


def holds(case: Any) -> bool:
    try:
        return case.holds()
    except Exception:  # noqa: BLE001  a case that cannot be asked any more is noticed as well
        return False


def move(threshold: Threshold, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts another number in its place, in this process alone."""
    if threshold.name.isupper():
        for module in MODULES.values() if threshold.name[0] != "_" else (threshold.module,):
            if hasattr(module, threshold.name):
                monkeypatch.setattr(module, threshold.name, value)
        return
    tree, place = numbered(threshold.module)
    (node,) = (node for node, number in place.items() if number == threshold.number)
    assert isinstance(node, ast.Constant)
    node.value = value
    code = compile(tree, str(threshold.module.__file__), "exec")
    node.value = threshold.value
    functions = list(functions_of(threshold.module))
    for moved in codes_in(code):
        for function in functions:
            old = function.__code__
            if (old.co_qualname, old.co_firstlineno) == (moved.co_qualname, moved.co_firstlineno):
                monkeypatch.setattr(function, "__code__", moved)


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """The functions that a module defines, methods among them."""
    for thing in vars(module).values():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        for each in (thing, *(vars(thing).values() if inspect.isclass(thing) else ())):
            each = each.fget if isinstance(each, property) else each.func if isinstance(each, cached_property) else each
            each = inspect.unwrap(each) if callable(each) else each
            if isinstance(each, FunctionType) and not each.__closure__:
                yield each


def codes_in(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes_in(constant)


@pytest.mark.parametrize("differ", [True, False])
def test_dead_rectifiers_are_a_fault_only_where_all_samples_are_answered_alike(differ):
    output = torch.tensor([[1.0], [2.0 if differ else 1.0]]).expand(2, 2)
    assert severe(rule("dead", row("ReLU", dead=1.0), look={"output": output}, inputs=torch.zeros(2, 2))) != differ


def test_gradients_grow_over_time_steps_however_small_they_are():
    assert through_time(1e-24, 1e-20, 1e-12) is not None
    assert through_time(1e-13, 1e-12, 1e-12) is None


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_a_small_step_moves_a_parameter_by_a_tenth_of_its_size(scale):
    model = nn.Linear(100, 50)
    nn.init.constant_(model.weight, scale)
    before, gradient = model.weight.detach().clone(), torch.linspace(-3, 2, 5000).view(50, 100)
    known = evidence(model=model, look={"gradients": {"weight": gradient, "bias": None}})
    INSIDE["_step"](known.subject, known.first)
    moved = before - model.weight.detach()
    assert float(moved.norm() / 5000**0.5) == pytest.approx(0.1 * max(scale, 0.1), rel=1e-3)  # 1/√fan_in at least
    assert torch.allclose(moved / moved.norm(), gradient / gradient.norm(), atol=1e-3)


def test_dropout_of_attention_is_seen_by_place_and_by_name():
    x = torch.randn(1, 2, 4, 8, generator=seeded(0))
    for given, named in (((None, 0.9), {}), ((), {"dropout_p": 0.9}), ((None, 0.0), {})):
        with INSIDE["_Dropouts"]() as seen:
            F.scaled_dot_product_attention(x, x, x, *given, **named)
        assert seen.shares == ([0.9] if 0.9 in (*given, *named.values()) else [])
