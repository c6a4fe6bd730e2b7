"""The stored chapters are whole: executed top to bottom, readable by everybody, their exercises solved.

That the cells still print what is stored is checked by nbval, which re-executes them.
"""

import os
import re
import subprocess
import sys
from base64 import b64decode

import nbformat
import pytest

from tests.execute_notebooks import FOLDER, PICTURE, picture
from tests.public import PUBLIC

PATHS = sorted(FOLDER.glob("*.ipynb"))
CHAPTERS = [path for path in PATHS if not path.name.startswith("00")]
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path) -> str:
    return "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


START = FOLDER / "00_start_here.ipynb"
MAPPED = [START.name, *re.findall(r"^\| \[\d\d\]\((.*?)\)", prose(START), re.MULTILINE)]
# The chapters as they are best read: in the order of chapter 00's map, then those that it does not have.
WAY = sorted(PATHS, key=lambda path: MAPPED.index(path.name) if path.name in MAPPED else len(MAPPED))


def bundles(cell):
    """The MIME bundles among the outputs of a cell, each with its metadata."""
    return [(output.data, output.metadata) for output in cell.outputs if "data" in output]


@every_notebook
def test_it_is_valid_and_carries_nothing_of_one_machine(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags", "jupyter"}


@every_notebook
def test_every_cell_was_executed_once_and_in_order(path):
    """nbval passes a cell without execution count and outputs: nothing would have been compared."""
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.source.strip() for cell in cells)


@every_notebook
def test_no_error_or_warning_is_stored(path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


@every_notebook
def test_figures_are_shown_in_a_fresh_clone_and_to_those_who_cannot_see_them(path):
    """A stored SVG is not drawn until the notebook is trusted; a PNG is."""
    figures = [(data, metadata) for cell in code_cells(path) for data, metadata in bundles(cell) if "image/png" in data]
    assert figures
    assert not [data for data, _ in figures if "image/svg+xml" in data]
    for data, metadata in figures:
        assert len(metadata["image/png"].get("alt", "")) > 20
        assert metadata["image/png"]["width"] <= 1000
        assert int.from_bytes(b64decode(data["image/png"])[16:20], "big") >= 2 * metadata["image/png"]["width"] - 2


@every_notebook
def test_each_picture_is_read_out_to_those_who_open_it_in_jupyterlab_or_as_html(path):
    """Both drop the text that is stored with a PNG: it stands in front of it as an output of its own."""
    bs4, nbconvert = pytest.importorskip("bs4"), pytest.importorskip("nbconvert")
    pictures = [
        nbformat.v4.new_code_cell(outputs=cell.outputs)
        for cell in code_cells(path)
        if any("image/png" in data for data, _ in bundles(cell))
    ]
    body, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=pictures))
    page = bs4.BeautifulSoup(body, "html.parser")
    texts = [
        metadata["image/png"]["alt"]
        for cell in code_cells(path)
        for data, metadata in bundles(cell)
        if "image/png" in data
    ]
    shown = page.select(".jp-OutputArea-child")
    before = [shown[place - 1] for place, area in enumerate(shown) if area.select_one(".jp-RenderedImage img")]
    assert [area.select_one("p.d2lstab-alt").get_text() for area in before] == [f"Figure: {text}" for text in texts]


@every_notebook
def test_code_can_be_read_at_a_glance(path):
    for number, cell in enumerate(code_cells(path)):
        lines = cell.source.splitlines()
        assert len(lines) <= 14, f"code cell {number} has {len(lines)} lines"
        assert max(map(len, lines)) <= 100, f"code cell {number} has a line of {max(map(len, lines))} characters"
        assert not cell.source.rstrip().endswith(";"), f"code cell {number}: nbval shows what ; hides"
        if number > 1:  # the first two say where everything comes from
            assert not re.search(r"^(import|from) ", cell.source, re.MULTILINE), f"code cell {number} imports"


@every_notebook
def test_what_is_printed_names_no_address_and_no_device(path):
    for cell in code_cells(path):
        if "nbval-ignore-output" not in cell.metadata.get("tags", []):
            printed = "".join(
                output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in cell.outputs
            )
            assert not re.search(r"0x[0-9a-f]{6,}|cuda|device=", printed)


@every_notebook
def test_every_link_to_another_chapter_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+\.ipynb)", prose(path)):
        assert (FOLDER / target).exists(), target


def test_the_map_leads_to_every_chapter_once():
    assert sorted(MAPPED) == [path.name for path in PATHS]


@every_notebook
def test_it_begins_with_its_length_and_its_neighbours(path):
    place, title = WAY.index(path), {each: read(each).cells[0].source.splitlines()[0][2:] for each in PATHS}
    links = [f"previous: [{title[each]}]({each.name})" for each in WAY[:place][-1:]]
    links += [f"next: [{title[each]}]({each.name})" for each in WAY[place + 1 :][:1]]
    below = read(path).cells[0].source.splitlines()[2]
    assert below.strip("*").split(" · ")[1:] == links
    minutes, seconds = map(int, re.findall(r"(\d+) minutes to read, (\d+) seconds to run", below)[0])
    assert abs(len(re.findall(r"\w+", prose(path))) / 120 - minutes) < 4  # words a minute, among figures and formulas
    assert seconds <= 60


@every_chapter
def test_a_chapter_claims_and_ends_as_chapters_do(path):
    code = "\n".join(cell.source for cell in code_cells(path))
    assert code.count("claim(") >= 5
    headings = re.findall(r"^## (.*)$", prose(path), re.MULTILINE)
    assert headings[-3:] == ["Summary", "Exercises", "Sources"]
    assert all(heading.endswith("?") for heading in headings[:-3]), "a section asks a question"
    summary = prose(path).partition("## Summary")[2].partition("## Exercises")[0]
    assert "**Now you can** " in summary
    following = WAY[WAY.index(path) + 1 :][:1]
    assert [each.name for each in following] == re.findall(r"The next chapter asks: \[.*\]\((.*)\)", summary)


@every_chapter
def test_exercises_wait_and_their_folded_solutions_are_right(path):
    chapter = path.name[:2]
    printed = {}
    for cell in code_cells(path):
        for number in re.findall(r'^check\("(\d\d\.\d)"', cell.source, re.MULTILINE):
            folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
            printed[number, folded] = "".join(output.get("text", "") for output in cell.outputs).strip()
    for exercise in (f"{chapter}.{k}" for k in (1, 2, 3)):
        assert printed[exercise, False] == f"{exercise} is waiting for your answer."
        assert printed[exercise, True].endswith(f"{exercise} is right.")


def test_the_readme_shows_the_picture_that_the_notebook_drew():
    tagged = [cell for path in PATHS for cell in code_cells(path) if "readme-picture" in cell.metadata.get("tags", [])]
    assert [picture(cell) for cell in tagged] == [PICTURE.read_bytes()]


def test_a_changed_digit_or_bound_a_missing_output_and_an_exception_fail_and_are_named(tmp_path):
    sources = ["print(1.234)", "print('shown')", "raise ValueError('no')", "print('gain: 0.9 (above 0.7, below 1)')"]
    sources += ["print('as stored')", "print('gain: 0.9, 2e-05 (above 0.8)')", "print('gain: 0.9 (expected 1 ± 0.1)')"]
    stored = ["1.235\n", None, None, "gain: 0.8 (above 0.7, below 2)\n"]
    stored += ["as stored\n", "gain: 1, 3e-05 (above 0.8)\n", "gain: 0.8 (expected 1 ± 0.1)\n"]
    outputs = [[] if text is None else [nbformat.v4.new_output("stream", text=text)] for text in stored]
    cells = [
        nbformat.v4.new_code_cell(source, outputs=output, execution_count=number)
        for number, (source, output) in enumerate(zip(sources, outputs), 1)
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "broken.ipynb")
    options = ["--nbval", "--nbval-current-env", f"--nbval-sanitize-with={FOLDER.parent / 'tests' / 'sanitize.cfg'}"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", tmp_path, "-c", os.devnull]
    command += [*options, tmp_path / "broken.ipynb"]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    failed = re.findall(r"^FAILED .*broken\.ipynb::Cell (\d)", run.stdout, re.MULTILINE)
    assert failed[0] in "01", run.stdout  # nbval counts cells from 0, or from 1
    assert [int(cell) - int(failed[0]) for cell in failed] == [0, 1, 2, 3, 6], run.stdout
    assert run.returncode == 1, run.stdout
    assert "2 passed" in run.stdout  # beside a bound a number may differ


def test_every_function_that_the_map_of_the_notes_names_exists_and_every_section_has_its_place():
    text = prose(FOLDER / "00_start_here.ipynb")
    table = text.partition("## Where is each statement of the notes?")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| §")]
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row[3])}
    assert len(names) > 40
    assert names <= PUBLIC.keys()
    assert not {number for row in rows for number in re.findall(r"\d\d", row[2])} - {path.name[:2] for path in PATHS}
    sections = {row[0].strip() for row in rows}
    assert sections == {"§1", "§2", "§3", "§4", *(f"§5.{part}" for part in range(1, 7))}


def test_a_notebook_that_is_not_there_is_told_with_those_that_are():
    command = [sys.executable, FOLDER.parent / "tests" / "execute_notebooks.py", "nope"]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr.startswith("no notebook at nope\nexpected some of:\n")
    assert all(f"notebooks/{path.name}" in run.stderr for path in PATHS)
