"""The floors of the package: imports point down, and modules on one floor ignore each other."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import d2lstab
from tests.public import PUBLIC

FLOORS = [
    {"arguments", "containers", "processes", "threads"},
    {"signatures"},
    {"plotting", "results"},
    {"activations", "controls", "floats", "randomness"},
    {"initializers", "mean_field", "products"},
    {"networks", "datasets", "recording"},
    {"borrowing", "curvature", "propagation", "jacobians"},
    {"training"},
    {"remedies", "trainability"},
    {"coordinates", "diagnosis"},
    {"monitoring"},
    {"exercises", "lightning", "transformers"},
]
# Inside the one folder in which a batch takes a long way: each file uses those before it.
DIAGNOSIS = (
    ("findings", "subject", "attention", "expectation", "graph"),
    ("answers", "look", "repairs"),
    ("chaos", "measurements", "trial", "origin"),
    ("evidence",),
    ("faults", "report"),
    ("diagnose",),
)
# What the package takes of torch that torch does not promise to keep. One that moves fails here by its name.
PRIVATE = {
    "torch._C.DisableTorchFunction",
    "torch._C._current_graph_task_id",
    "torch._C._functorch.TransformType",
    "torch._C._functorch.get_interpreter_stack",
    "torch._C._functorch.peek_interpreter_stack",
    "torch._foreach_copy_",
    "torch._foreach_norm",
    "torch._foreach_sub_",
    "torch._subclasses.fake_tensor.FakeTensor",
    "torch.utils._python_dispatch.TorchDispatchMode",
}
PRIVATE_OF_MODULES = "_parameters _buffers _modules _forward_hooks _forward_pre_hooks _backward_hooks".split()
PACKAGE = Path(d2lstab.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
MODULES = sorted({path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES})  # a folder is one module
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}


def imported(module: str) -> set[str]:
    """The other modules of the package that this one imports, anywhere in its files."""
    found = set()
    for path in FILES:
        place = path.relative_to(PACKAGE).with_suffix("").parts
        if place[0] != module:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                package = place[: len(place) - node.level]
                inside = (*package, *(node.module or "").split("."))
                found |= {inside[0]} if inside[0] else {alias.name for alias in node.names}
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not any(name.split(".")[0] == "d2lstab" for name in names), f"{path.name}: import relatively"
    return found - {module}


def test_every_module_has_one_floor():
    assert sum(map(len, FLOORS)) == len(FLOOR_OF)
    assert set(MODULES) == set(FLOOR_OF)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    assert {name for name in imported(module) if FLOOR_OF[name] >= FLOOR_OF[module]} == set()


def test_imports_inside_diagnosis_point_back_on_the_way_of_the_data():
    place = {name: step for step, names in enumerate(DIAGNOSIS) for name in names}
    files = [path for path in (PACKAGE / "diagnosis").rglob("*.py") if path != PACKAGE / "diagnosis" / "__init__.py"]
    parts = {path: path.relative_to(PACKAGE / "diagnosis").with_suffix("").parts for path in files}
    assert {part[0] for part in parts.values()} == set(place)
    forward = []
    for path, part in parts.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == len(part) and node.module:
                used = node.module.split(".")[0]
                forward += [(part, used)] if place[used] >= place[part[0]] else []
    assert forward == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 400


EXPERIMENTS = sorted((PACKAGE.parent / "experiments").glob("*.py"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_is_written_with_public_names_only(path):
    froms = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in froms if (node.module or "").split(".")[0] == "d2lstab"]
    for node in ours:
        assert {alias.name for alias in node.names} <= set(importlib.import_module(node.module).__all__)
    assert not any(node.level for node in froms)


def private_names(path: Path) -> set[str]:
    """The names of torch in a file that have a part with a leading underscore, from `import` and from `torch.…`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "torch":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("torch."):
            found.add(ast.unparse(node))
    return {name for name in found if re.search(r"\._[A-Za-z]", name)}


def test_the_private_names_of_torch_are_few_and_known():
    used = {name for path in FILES for name in private_names(path)}
    assert {name for name in used if not any(longer.startswith(f"{name}.") for longer in used)} == PRIVATE


@pytest.mark.parametrize("name", sorted(PRIVATE))
def test_a_private_name_of_torch_is_where_it_was(name):
    module, _, last = name.rpartition(".")
    place = torch._C if module == "torch._C" else importlib.import_module(module)
    assert hasattr(place, last)


def test_modules_and_optimizers_keep_what_they_hold_where_they_did():
    layer = torch.nn.Linear(1, 1)
    held = {
        layer: PRIVATE_OF_MODULES,
        layer.weight: ["_backward_hooks", "_post_accumulate_grad_hooks"],
        torch.optim.SGD(layer.parameters()): ["_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"],
    }
    assert [name for thing, names in held.items() for name in names if not hasattr(thing, name)] == []


def test_the_package_imports_without_the_course():
    blocked = [
        "d2l",
        "pandas",
        "IPython",
        "jupyterlab",
        "ipywidgets",
        "sklearn",
        "torchvision",
        "scipy",
        "lightning",
        "transformers",
    ]
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked})); import d2lstab; d2lstab.random_product().plot()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_nothing_is_written_outside_the_working_directory(tmp_path):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    code = "import d2lstab; d2lstab.depth_sweep(d2lstab.he_normal_, abs, depth=2, width=4).plot(); d2lstab.digits()"
    places = {"HOME": str(home), "MPLCONFIGDIR": str(work), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=work, env=os.environ | places)
    assert list(home.iterdir()) == []


def test_every_public_name_says_what_it_is():
    undocumented = [
        name
        for name, thing in PUBLIC.items()
        if callable(thing) and thing.__module__.startswith("d2lstab") and not (thing.__doc__ or "").strip()
    ]
    assert undocumented == []
