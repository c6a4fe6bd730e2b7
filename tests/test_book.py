"""The site is whole: it builds without a warning, its links lead somewhere, and whoever cannot see reads its pictures."""

import inspect
import re
import shutil
import subprocess
import sys
import threading
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import get_type_hints
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import pytest

for package in ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx_design", "bs4"):
    pytest.importorskip(package, reason="the site is built with the group `book` of pyproject.toml")

from bs4 import BeautifulSoup

from book.__main__ import opened
from book.chapters import FOLDER, chapters, installed, page, read
from book.examples import picture, with_examples
from book.names import imported, modules, owners, section, spoken, used
from book.pages import literal, plain, relinked, table_of_ratios
from book.reference import escaped, restructured
from d2lstab import new_axes

ROOT = FOLDER.parent
COURSE = chapters()
NAMES = owners(modules())
READER = {"new_axes": new_axes}


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "book", "--strict", "--output", output, "--repository", ""]
    run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return output


@cache
def parsed(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(), "html.parser")


@cache
def anchors(path: Path) -> set[str]:
    return {element["id"] for element in parsed(path).find_all(id=True)}


def pages(site: Path) -> dict[str, BeautifulSoup]:
    return {
        str(path.relative_to(site)): parsed(path)
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }


def test_every_link_leads_to_a_page_and_a_place_on_it(site):
    lost = []
    for name, soup in pages(site).items():
        for link in soup.find_all("a", href=True):
            address = urlsplit(urljoin(name, link["href"]))
            if address.scheme or name in ("search.html", "genindex.html", "py-modindex.html"):
                continue
            target = site / unquote(address.path)
            if not target.is_file() or (
                address.fragment and target.suffix == ".html" and unquote(address.fragment) not in anchors(target)
            ):
                lost.append((name, link["href"]))
    assert lost == []


def test_every_picture_has_its_text_and_is_there(site):
    for name, soup in pages(site).items():
        for image in soup.find_all("img"):
            assert len(image.get("alt", "")) > 20, f"{name}: {image}"
            assert (site / urljoin(name, image["src"])).is_file(), f"{name}: {image}"


def test_nothing_is_loaded_from_another_host(site):
    for name, soup in pages(site).items():
        for tag, attribute in (("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")):
            loaded = [element[attribute] for element in soup.find_all(tag, **{attribute: True})]
            assert [each for each in loaded if urlsplit(each).netloc] == [], name


@pytest.mark.parametrize("chapter", COURSE, ids=lambda chapter: chapter.name)
def test_a_chapter_shows_all_that_is_stored(site, chapter):
    soup = parsed(site / "chapters" / f"{chapter.name}.html")
    code = [cell.source for cell in chapter.notebook.cells if cell.cell_type == "code"]
    shown = [block.get_text() for block in soup.select("div.cell_input pre")]
    assert [text.strip() for text in shown] == [text.strip() for text in code]
    figures = soup.select("figure.chapter-figure")
    assert [each.img["alt"] for each in figures] == [each.alt for each in chapter.figures]
    captions = [re.sub(r"^Figure [\d.]+ ", "", each.figcaption.get_text()) for each in figures]
    assert all(said.startswith(each.alt.rstrip(".")) for said, each in zip(captions, chapter.figures))
    assert [bool(each.find(string=re.compile("In JupyterLab"))) for each in figures] == [
        bool(f.live) for f in chapter.figures
    ]
    folded = sum(cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in chapter.notebook.cells)
    assert len(soup.select("details.hide")) == folded
    stored = [cell.source for cell in nbformat.read(FOLDER / f"{chapter.name}.ipynb", as_version=4).cells]
    downloaded = nbformat.read(site / "chapters" / f"{chapter.name}.ipynb", as_version=4)
    assert [cell.source for cell in downloaded.cells] == stored


def test_every_public_name_has_an_entry_which_code_and_prose_lead_to(site):
    for name, full in NAMES.items():
        assert full in anchors(site / "reference" / f"{full.split('.')[1]}.html"), name
    soup = parsed(site / "chapters" / "04_which_scale.html")
    entry = "../reference/initializers.html#d2lstab.initializers.he_normal_"
    assert soup.select(f'div.cell_input a[href="{entry}"]')
    start = parsed(site / "chapters" / "00_start_here.html")
    assert start.select('p a[href="../reference/jacobians.html#d2lstab.jacobians.isometry"]')


def test_an_entry_says_what_comes_back_and_leads_to_the_chapters_that_use_it(site):
    soup = parsed(site / "reference" / "initializers.html")
    entry = soup.find(id="d2lstab.initializers.he_normal_").find_parent("dl")
    assert "filled with N(0, gain² / fan_in)" in entry.get_text()
    used_in = entry.select_one("p.used-in")
    expected = [chapter.name for chapter in COURSE if "he_normal_" in chapter.uses]
    assert [re.search(r"/(\d\d_\w+)\.html", link["href"])[1] for link in used_in.find_all("a")] == expected
    assert "04_which_scale" in expected


def drawing() -> list[str]:
    """The functions whose result draws itself."""
    offered = {
        name: getattr(import_module(full.rpartition(".")[0]), name) for name, full in with_examples(NAMES).items()
    }
    returned = {
        name: get_type_hints(inspect.unwrap(thing)).get("return")
        for name, thing in offered.items()
        if inspect.isfunction(thing)
    }
    return [name for name, kind in returned.items() if hasattr(kind, "plot") and not name.endswith("_problem")]


@pytest.mark.parametrize(
    "name", [*drawing(), "Monitor", "record", "line_with_band", "theory_line", "histogram", "heatmap"]
)
def test_what_an_example_draws_stands_below_it(site, name):
    soup = parsed(site / "reference" / f"{NAMES[name].split('.')[1]}.html")
    picture = soup.find(id=NAMES[name]).find_parent("dl").select_one("figure.example img")
    assert picture["alt"].startswith(f"What the example of {name} draws: ")


def test_an_example_is_drawn_and_said_in_words():
    drawn = picture(
        "sum", ">>> ax = new_axes()\n>>> _ = ax.plot([1, 2])\n>>> _ = ax.set(xlabel='x', ylabel='y')", READER
    )
    assert drawn.png.startswith(b"\x89PNG") and drawn.text == "y against x"
    assert picture("sum", ">>> 1 + 1\n2", READER) is None
    assert picture("sum", ">>> ax = new_axes()", READER) is None
    with pytest.raises(
        ValueError, match=r"^the example of sum fails\nexpected one that tests/test_docstrings.py passes"
    ):
        picture("sum", ">>> ax = 1\n>>> ax\n2", READER)


def test_what_is_said_of_all_arguments_is_said_once(site):
    found = [name for name, soup in pages(site).items() if "sparse, complex or without data" in soup.get_text()]
    assert found == ["reference/index.html"]


def test_a_ratio_is_told_with_what_is_known_of_it():
    rows = {"a": [1.234, 1.0, 2.0], "  b": "not installed"}
    bench = {"machine": "a slow one", "parts": ["speed"], "limits": {"a": 1.5}, "groups": {"over a loop": rows}}
    made = table_of_ratios(bench).replace("\u2060", "")
    assert "on: a slow one." in made and "these are stored: speed." in made
    assert "| Over a loop | Ratio |" in made
    assert "| a | 1.23 (1.00–2.00); promised: 1.5 at most |\n| – b | not installed |" in made


def test_every_fault_has_its_place_and_every_section_of_the_notes_its_chapter(site):
    assert {f"fault-{fault.replace('_', '-')}" for fault in literal("FAULTS") if fault != "healthy"} <= anchors(
        site / "symptoms.html"
    )
    rows = parsed(site / "notes.html").select("tbody tr")
    assert len(rows) > 20
    assert all(row.select("td:nth-of-type(3) a") for row in rows)


def test_formulas_are_drawn_by_what_lies_beside_the_pages(site):
    scripts = [script.get("src", "") for script in parsed(site / "chapters" / "04_which_scale.html").find_all("script")]
    (mathjax,) = [each for each in scripts if "mathjax" in each]
    assert (site / "chapters" / mathjax.partition("?")[0]).resolve().is_file()


def test_a_page_can_be_opened_elsewhere_once_there_is_an_address_and_then_installs_the_package():
    chapter = COURSE[0]
    assert opened(chapter, "").count("<a ") == 1
    links = opened(chapter, "https://github.com/somebody/d2lstab")
    assert "colab.research.google.com/github/somebody/d2lstab/" in links and "mybinder.org" in links
    made = installed(chapter.notebook, "git+https://github.com/somebody/d2lstab")
    nbformat.validate(made)
    assert made.cells[0].source.startswith("%pip install") and made.cells[1:] == chapter.notebook.cells


def test_a_page_leaves_the_notebook_as_it_is():
    before = nbformat.writes(COURSE[1].notebook)
    assert nbformat.writes(page(COURSE[1], "opened")) != before
    assert nbformat.writes(COURSE[1].notebook) == before


def test_a_picture_without_text_is_refused(tmp_path):
    output = nbformat.v4.new_output("display_data", {"image/png": "", "text/plain": ""}, metadata={"image/png": {}})
    cells = [nbformat.v4.new_markdown_cell("# A\n\n*B*\n\nC"), nbformat.v4.new_code_cell("f()", outputs=[output])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "14_a.ipynb")
    with pytest.raises(ValueError, match=r"^figure 14.1 of 14_a has no alternative text\nexpected alt_text"):
        read(tmp_path / "14_a.ipynb")


def test_a_docstring_becomes_fields_and_nothing_in_it_is_taken_for_markup():
    lines = [
        "The sum of a_ and *b*.",
        "",
        "a: (n,). b: `fans` of `x`.",
        "Raises ValueError for a|b.",
        "Source: Gauss 1799.",
    ]
    made = "\n".join(restructured([*lines, "", ">>> f(1_0)", "10"], ["a", "b"], {"fans": "d2lstab.initializers.fans"}))
    assert made.splitlines()[0] == r"The sum of a\_ and \*b\*."
    assert ":param a: (n,)." in made
    assert r":param b: \ :py:obj:`fans <d2lstab.initializers.fans>`\  of \ ``x``\ ." in made
    assert r":raises: ValueError for a\|b." in made
    assert ":source: Gauss 1799." in made
    assert "\n>>> f(1_0)\n10" in made
    assert escaped("x: y", {}) == "x: y"


def test_a_section_ends_where_the_next_of_its_level_begins():
    text = "# A\n\na\n\n## B\n\nb\n\n### C\n\nc\n\n## D\n\nd\n"
    assert section(text, "B") == "b\n\n### C\n\nc\n"
    assert section(text, "C") == "c\n"
    with pytest.raises(ValueError, match=r"^no heading 'E'\nexpected one of \['A', 'B', 'C', 'D'\]"):
        section(text, "E")


def test_names_are_found_in_code_and_in_prose():
    source = "from d2lstab import floats, train as fit\nfrom d2lstab.products import critical_std\nfrom torch import nn"
    local = imported(source)
    assert local == {"floats": "floats", "fit": "train", "critical_std": "critical_std"}
    assert set(used("fit(nn.ulp(x), floats.ulp(critical_std))", local)) == {"train", "floats", "ulp", "critical_std"}
    assert list(spoken("`train` and `diagnose(model)`, `d2lstab.floats.ulp`, not `a + b`")) == [
        "train",
        "diagnose",
        "ulp",
    ]
    assert plain(r"Why is $\mathbf v$ `x`?") == "Why is v x?"


def test_the_readmes_links_lead_to_pages():
    assert relinked("[a](notebooks/03_x.ipynb)") == "[a](chapters/03_x.ipynb)"
    assert relinked("[a](https://d2l.ai), [tests/b.py](tests/b.py)") == "[a](https://d2l.ai), `tests/b.py`"


@pytest.fixture(scope="module")
def address(site):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: no browser looks at the site"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: no browser looks at the site")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


PAGES = ["index", "chapters/00_start_here", "chapters/13_what_is_wrong", "reference/initializers", "symptoms"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it_in_both_themes_and_on_a_phone(address, browser, theme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    tab, errors, foreign = context.new_page(), [], []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda asked: None if asked.url.startswith((address, "data:")) else foreign.append(asked.url))
    for name in PAGES:
        tab.goto(f"{address}{name}.html", wait_until="networkidle")
        assert tab.evaluate("document.documentElement.dataset.theme") == theme
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the window"
        assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    tab.goto(f"{address}chapters/04_which_scale.html", wait_until="networkidle")
    assert tab.locator("mjx-container").count() > 5
    assert tab.get_by_role("img", name=COURSE[4].figures[0].alt).count() == 1
    context.close()
    assert (errors, foreign) == ([], [])


def test_a_chapter_prints_without_navigation_and_without_hidden_text(address, browser):
    tab = browser.new_page(viewport={"width": 700, "height": 1000})
    tab.goto(f"{address}chapters/04_which_scale.html", wait_until="networkidle")
    tab.emulate_media(media="print")
    for part in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer", ".open-in", "#jb-print-toc"):
        assert tab.locator(part).count() > 0
        assert not any(each.is_visible() for each in tab.locator(part).all()), part
    cut = "blocks => blocks.filter(block => block.scrollWidth > block.clientWidth + 1).length"
    assert tab.eval_on_selector_all("div.cell_input pre, div.cell_output pre", cut) == 0
    tab.close()


def test_a_browser_finds_what_is_searched_for(address, browser):
    tab = browser.new_page()
    tab.goto(f"{address}search.html?q=Xavier")
    tab.wait_for_selector("ul.search li a")
    titles = tab.locator("ul.search li a").all_inner_texts()
    assert "Which scale does a layer need?" in titles
    tab.goto(f"{address}search.html?q=he_normal_")
    tab.wait_for_selector('ul.search li a[href*="reference/initializers.html"]')
    tab.close()
