"""What `import d2lstab` brings: its names, and little that takes long."""

import subprocess
import sys
from inspect import ismodule
from pathlib import Path

import d2lstab

ROOT = Path(d2lstab.__file__).parent
LOADED = "import sys, d2lstab; print(*(name for name in sys.argv[1:] if name in sys.modules))"


def test_importing_loads_nothing_large_beside_torch():
    large = ["matplotlib", "sklearn", "scipy", "pandas", "IPython", "ipywidgets", "d2l", "lightning", "triton"]
    run = subprocess.run(
        [sys.executable, "-c", LOADED, *large], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.split() == []


def test_completion_offers_the_public_names_and_nothing_else():
    imported = {name for name, thing in vars(d2lstab).items() if not name.startswith("_") and not ismodule(thing)}
    assert set(dir(d2lstab)) == set(d2lstab.__all__) == imported
    assert len(d2lstab.__all__) == len(imported)


def test_type_checkers_are_told_that_there_are_types():
    assert (ROOT / "py.typed").exists()
