"""What `import d2lstab` brings: its names, and little that takes long."""

import subprocess
import sys
from inspect import ismodule
from pathlib import Path

import pytest

import d2lstab
from tests.public import PUBLIC

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
    assert set(d2lstab.__all__) == imported - {"import_module"}
    assert len(set(d2lstab.__all__)) == len(d2lstab.__all__) <= 40
    assert set(dir(d2lstab)) == set(d2lstab.__all__) | set(d2lstab._MODULES)


@pytest.mark.parametrize("module", d2lstab._MODULES)
def test_a_module_offers_what_it_says(module):
    assert set(getattr(d2lstab, module).__all__) <= set(dir(getattr(d2lstab, module)))


def test_a_name_that_lives_in_a_module_is_told_where():
    with pytest.raises(ImportError, match="from d2lstab.floats import ulp"):
        from d2lstab import ulp  # noqa: F401
    with pytest.raises(ImportError, match="from d2lstab.randomness import normal"):
        d2lstab.normal  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'he_norml_'"):
        d2lstab.he_norml_  # noqa: B018
    assert not hasattr(d2lstab, "__wrapped__")


def test_every_name_has_one_home():
    names = [name for module in d2lstab._MODULES for name in getattr(d2lstab, module).__all__]
    assert len(set(names)) == len(names)
    assert all(PUBLIC[name] is getattr(d2lstab, name) for name in d2lstab.__all__)


def test_type_checkers_are_told_that_there_are_types():
    assert (ROOT / "py.typed").exists()
