"""Builds the site from what is stored, executes nothing and asks no network: python -m book [--output FOLDER] [--strict]."""

import argparse
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import nbformat
import tomllib
from PIL import Image
from sphinx.cmd.build import build_main

from .chapters import Chapter, chapters, installed, page
from .examples import pictures
from .names import ROOT, modules, owners
from .pages import every_page
from .reference import reference_pages

HERE = Path(__file__).resolve().parent
SOURCE = ROOT / ".cache" / "book"
OUTPUT = ROOT / "dist" / "book"
_THUMBNAIL = 360  # pixels


def compose(source: Path, repository: str = "", place: str = "dev") -> None:
    """Writes all that Sphinx reads into a folder; what is there and has not changed stays.

    repository: where the course is published, such as https://github.com/NAME/d2lstab. With it pages offer to be
    opened elsewhere, without it they do not. place: the folder of its branch gh-pages that the site goes to.
    """
    course = chapters()
    written: dict[Path, bytes] = {}
    for chapter in course:
        made = page(chapter, opened(chapter, repository, place))
        written[source / "chapters" / f"{chapter.name}.ipynb"] = nbformat.writes(made).encode()
        for figure in chapter.figures:
            written[source / "figures" / figure.file] = figure.png
            written[source / "figures" / "small" / figure.file] = small(figure.png)
    readme = (ROOT / "README.md").read_text()
    for name, text in every_page(course, readme).items():
        written[source / f"{name}.md"] = text.encode()
    drawn = pictures(owners(modules()))
    for name, picture in drawn.items():
        written[source / "reference" / "pictures" / f"{name}.png"] = picture.png
    said = {name: picture.text for name, picture in drawn.items()}
    for name, text in reference_pages(modules(), course, said).items():
        written[source / f"{name}.rst"] = text.encode()
    for path in sorted((ROOT / "experiments").glob("*.py")):
        written[source / "experiments" / path.name] = path.read_bytes()
    for path, content in written.items():
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for path in source.rglob("*"):
        if path.is_file() and path not in written:
            path.unlink()


def small(png: bytes) -> bytes:
    """A picture made narrow, for lists."""
    image = Image.open(BytesIO(png)).convert("RGB")
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    made = BytesIO()
    image.quantize(64).save(made, "PNG", optimize=True)
    return made.getvalue()


def opened(chapter: Chapter, repository: str, place: str = "dev") -> str:
    """A line of links that open a chapter elsewhere; the download needs no address."""
    links = [f'<a href="{chapter.name}.ipynb" download>Download the notebook</a>']
    if repository:
        path = repository.removeprefix("https://github.com/")
        elsewhere = f"blob/gh-pages/{place}/chapters/{chapter.name}.ipynb"
        links += [
            f'<a href="https://colab.research.google.com/github/{path}/{elsewhere}">Open in Colab</a>',
            f'<a href="https://mybinder.org/v2/gh/{path}/HEAD?urlpath=lab/tree/notebooks/{chapter.name}.ipynb">Open in Binder</a>',
        ]
    return f'<p class="open-in">{" · ".join(links)}</p>'


def configured() -> str:
    """The address of the repository, from [project.urls] of pyproject.toml; empty if there is none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project.get("urls", {}).get("Repository", "").rstrip("/")


def complete(output: Path, repository: str) -> None:
    """Puts beside the pages what they load: MathJax, the figures, the notebooks to download."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("no sphinx-mathjax-offline\nexpected what `uv sync --group book` installs")
    mathjax = Path(package.origin).parent / "static" / "mathjax"
    for part in ("tex-chtml.js", "output/chtml", "a11y", "sre", "input/mml"):
        place = output / "_static" / "mathjax" / part
        place.parent.mkdir(parents=True, exist_ok=True)
        if (mathjax / part).is_dir():
            shutil.copytree(mathjax / part, place, dirs_exist_ok=True)
        else:
            shutil.copy(mathjax / part, place)
    for chapter in chapters():
        made = installed(chapter.notebook, f"git+{repository}") if repository else chapter.notebook
        nbformat.write(made, output / "chapters" / f"{chapter.name}.ipynb")
    shutil.copytree(SOURCE / "figures", output / "figures", dirs_exist_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book", description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    parser.add_argument("--repository", default=configured(), help="where the course is published, an address")
    parser.add_argument("--place", default="dev", help="the folder of the branch gh-pages that it is built for")
    chosen = parser.parse_args(arguments)
    compose(SOURCE, chosen.repository, chosen.place)
    if chosen.output == OUTPUT:
        shutil.rmtree(OUTPUT, ignore_errors=True)  # no page stays that is made no more
    options = ["-W", "--keep-going"] if chosen.strict else []
    doctrees = str(
        SOURCE.parent / "book-doctrees"
    )  # -E: pages depend on docstrings and names too, not on their files alone
    failed = build_main(["-q", "-E", "-c", str(HERE), "-d", doctrees, *options, str(SOURCE), str(chosen.output)])
    if not failed:
        complete(chosen.output, chosen.repository)
        print(f"open {chosen.output / 'index.html'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
