"""The README is true: its snippets run, its commands, names, links and layers exist."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import d2lstab
from tests.public import HOME, PUBLIC
from tests.test_architecture import FLOORS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", README, re.DOTALL)  # and what they print
NUMBER = r"\d[\d.]*(e[+-]\d+)?"


@pytest.mark.parametrize(("snippet", "printed"), SNIPPETS, ids=range(len(SNIPPETS)))
def test_every_snippet_runs_as_it_stands(snippet, printed, capsys):
    names = {}
    exec(compile(snippet, "README.md", "exec"), names)  # noqa: S102
    if "report" in names:
        assert f"report.verdict  # {names['report'].verdict!r}" in snippet
    if printed:  # digits may differ from machine to machine, words may not
        assert re.sub(NUMBER, "#", capsys.readouterr().out) == re.sub(NUMBER, "#", printed)
    plt.close("all")


def test_every_make_target_it_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert {"lab", "test"} <= named <= targets


def test_every_file_it_links_to_exists():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_list_of_chapters_is_complete():
    linked = set(re.findall(r"\]\(notebooks/([^)]+)\)", README))
    assert linked == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_its_list_of_modules_and_names_is_true_and_complete():
    table = re.search(r"## What is in the package\n(.*?)\nImports point down", README, re.DOTALL).group(1)
    rows = [re.findall(r"`([^`]+)`", line) for line in table.splitlines() if line.startswith("| `")]
    assert {row[0] for row in rows} == set.union(*FLOORS) - {
        "arguments",
        "borrowing",
        "containers",
        "signatures",
        "threads",
    }
    bold = [re.findall(r"\*\*`([^`]+)`\*\*", line) for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in row[1:]} - {"torch.nn.init"}
    classes = {name for name, thing in PUBLIC.items() if isinstance(thing, type)}
    assert named <= PUBLIC.keys() | {"StabilityMonitor", "StabilityCallback"}
    assert PUBLIC.keys() - classes - {"Activation", "Initializer"} <= named
    placed = {name: row[0] for row in rows for name in row[1:]}
    assert {name: HOME[name] for name in named & HOME.keys()} == {name: placed[name] for name in named & HOME.keys()}
    assert {name for row in bold for name in row} == set(d2lstab.__all__)


def test_its_table_of_faults_is_complete():
    table = re.search(r"## What `diagnose` names.*?\n(.*?)\n## ", README, re.DOTALL).group(1)
    named = {name for line in table.splitlines() for name in re.findall(r"`([^`]+)`", line.partition(" | ")[0])}
    assert named | {"healthy"} == set(d2lstab.FAULTS)


def test_its_diagram_is_the_architecture():
    drawn = [line.split()[1:] for line in README.splitlines() if re.match(r"\d+ +[a-z_]", line)]
    assert [set(modules) for modules in reversed(drawn)] == FLOORS
