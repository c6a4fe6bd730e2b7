"""The contributor's page is true: its examples, applied to a copy of the repository, pass the tests there."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
CHAPTER = "notebooks/16_does_the_shape_matter.ipynb"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def applied(text: str, change: str) -> str:
    """The text with the lines marked + inserted beside the others, which it holds once; at its end without others."""
    lines = change.splitlines()
    assert {line[:1] for line in lines} <= {" ", "+", ""}
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    if not before.strip():
        return text + "\n\n" + "".join(line[1:] + "\n" for line in lines)
    assert text.count(before) == 1, before
    return text.replace(before, "\n".join(line[1:] for line in lines))


def write(page: str, folder: Path) -> None:
    """What the page adds: its blocks with a file are written there, those after its last file are cells of a chapter."""
    examples, _, cells = page.partition("The cells, markdown and code in turn:")
    path, end = folder, 0
    for block in BLOCK.finditer(examples):
        named = re.findall(r"`([\w./]+\.py)`", examples[end : block.start()])
        path, end = (folder / named[-1] if named else path), block.end()
        language, source = block.groups()
        assert (language == "python") != path.exists()
        path.write_text(applied(path.read_text(), source) if language == "diff" else source)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell(*each) for each in BLOCK.findall(cells)]), folder / CHAPTER)


def cell(language: str, source: str):
    if language == "markdown":
        return nbformat.v4.new_markdown_cell(source.strip())
    made = nbformat.v4.new_code_cell(source.strip())
    if source.startswith("# Solution"):
        made.metadata["jupyter"] = {"source_hidden": True}
    return made


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("contribution")
    for name in ("d2lstab", "tests", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / name, folder)
    write(PAGE, folder)
    return folder


def run(folder: Path, *command: str) -> str:
    """What a command prints that runs there."""
    surroundings = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


INLINE = tuple(map(int, version("matplotlib-inline").split(".")[:2]))


@pytest.mark.skipif(INLINE < (0, 2), reason="old releases store figures without their size")
def test_what_the_page_adds_passes_the_tests(extended):
    assert "16_does_the_shape_matter.ipynb: changed" in run(extended, "tests/execute_notebooks.py", CHAPTER)
    files = ("activations", "initializers", "diagnosis", "exercises", "notebooks")
    added = ("mish", "signs", "repeated", "without_a_fault", "16_does", "16.2")
    options = ("-m", "pytest", "-v", "--override-ini=addopts=", "-p", "no:cacheprovider", "-k", " or ".join(added))
    printed = run(extended, *options, *(f"tests/test_{each}.py" for each in files))
    for each in (
        "test_activations.py::test_mish_is",
        "test_activations.py::test_slope_is_the_limit_of_difference_quotients[Mish]",
        "test_initializers.py::test_signs_have",
        "test_initializers.py::test_every_catalogued_initializer_obeys_the_contract[signs]",
        "test_diagnosis.py::test_a_network_with_the_fault_gets_it_as_verdict[repeated]",
        "test_exercises.py::test_a_wrong_answer_gets_a_hint_and_no_traceback[-1.0-16.2]",
        "test_notebooks.py::test_a_chapter_claims_and_ends_as_chapters_do[16_does_the_shape_matter.ipynb]",
    ):
        assert re.search(rf"{re.escape(each)}.* PASSED", printed), printed


def test_an_example_that_no_longer_fits_is_an_error():
    with pytest.raises(AssertionError):
        applied("a\nb\n", " c\n+d\n")
