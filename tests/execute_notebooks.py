"""Executes the chapters and stores their outputs: the only way outputs get into the repository.

    python tests/execute_notebooks.py [NOTEBOOK ...]                all of them without a name
    python tests/execute_notebooks.py --describe [NOTEBOOK ...]     executes nothing: puts the text of each picture
                                                                    where readers get it, as executing does

A notebook is written only after all of its cells ran, and only if something changed; a second run writes the
same bytes. What differs between machines and runs (times, versions, widget state) is left out.
"""

import base64
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
CACHE = ROOT / ".cache"
PICTURE = ROOT / ".github" / "picture.png"  # the README's: the figure of the cell tagged readme-picture
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
CONTROLS = "application/vnd.jupyter.widget-view+json"  # random names of widgets, which only run in their kernel
STARTUP = f"""import os

if os.environ.get("JITTER"):  # what `pytest --jitter` sets
    import sys

    sys.path.append({str(ROOT)!r})
    from tests.jitter import from_environment

    from_environment()
if os.environ.get("MARGINS"):  # what tests/margins.py sets
    import sys

    sys.path.append({str(ROOT)!r})
    from tests.margins import listen

    listen()
"""  # what a kernel runs before its first cell
KEPT_CELL_METADATA = {"tags", "jupyter"}  # `jupyter` folds the solutions of exercises


def execute(path: Path) -> bool:
    """Whether the file changed."""
    before = path.read_text()
    notebook = nbformat.reads(before, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
    ).execute()
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    notebook.nbformat_minor = 5
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:02d}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}
        if cell.cell_type == "code":
            for output in cell.outputs:
                output.get("data", {}).pop(CONTROLS, None)
            cell.outputs = [output for output in cell.outputs if output.get("data") != {}]
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if "readme-picture" in cell.metadata.get("tags", []):
            PICTURE.write_bytes(picture(cell))
    after = nbformat.writes(notebook) + "\n"
    if after != before:
        path.write_text(after)
    return after != before


def describe(path: Path) -> bool:
    """Whether the file changed: in front of each stored picture stands its text, as a run of the cell puts it there."""
    from d2lstab.controls import _QUIET
    from d2lstab.plotting import described

    before = path.read_text()
    notebook = nbformat.reads(before, as_version=4)
    for cell in notebook.cells:
        outputs = []
        for output in cell.get("outputs", []):
            data, facts = output.get("data", {}), output.get("metadata", {}).get("image/png", {})
            if "alt" in facts:
                live = _QUIET if data["text/plain"].startswith("LiveFigure(") else ""
                html = live + described(facts["alt"])
                outputs.append(nbformat.v4.new_output("display_data", {"text/html": html}))
            if not any(name in data.get("text/html", "") for name in ("d2lstab-live", "d2lstab-alt")):
                outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs
    after = nbformat.writes(notebook) + "\n"
    if after != before:
        path.write_text(after)
    return after != before


def picture(cell) -> bytes:
    """The PNG among the outputs of a cell."""
    (encoded,) = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return base64.b64decode(encoded)


def prepare_environment() -> None:
    """Sets what kernels inherit, so that outputs do not depend on who runs them.

    The reader's own matplotlibrc and IPython start-up files stay out of it, and nothing is written outside
    the repository.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise every kernel compiles torch anew
    os.environ.pop("MPLBACKEND", None)  # otherwise kernels do not get the inline backend
    os.environ["TQDM_DISABLE"] = "1"  # a stored progress bar is noise
    # As in the Makefile: small tensors run faster on one thread, and with freed memory kept for the next; on a GPU
    # float32 means float32.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "33554432")
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "1000000000")
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    for variable in ("IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        folder = CACHE / variable.lower()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(folder)
    startup = CACHE / "ipythondir" / "profile_default" / "startup" / "processor.py"
    startup.parent.mkdir(parents=True, exist_ok=True)
    if not startup.exists() or startup.read_text() != STARTUP:
        startup.write_text(STARTUP)
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot


def main() -> None:
    change = describe if "--describe" in sys.argv else execute
    paths = [Path(name) for name in sys.argv[1:] if name != "--describe"] or sorted(FOLDER.glob("*.ipynb"))
    if missing := [str(path) for path in paths if not (path.is_file() and path.suffix == ".ipynb")]:
        there = "\n".join(f"  notebooks/{path.name}" for path in sorted(FOLDER.glob("*.ipynb")))
        sys.exit(f"no notebook at {', '.join(missing)}\nexpected some of:\n{there}")
    prepare_environment()
    for path in paths:
        print(f"{path.name}: {'changed' if change(path) else 'unchanged'}", flush=True)


if __name__ == "__main__":
    main()
