"""Executes the chapters and stores their outputs: the only way outputs get into the repository.

    python tests/execute_notebooks.py [NOTEBOOK ...]     all of them without a name

A notebook is written only after all of its cells ran, and only if something changed; a second run writes the
same bytes. What differs between machines and runs (times, versions, widget state) is left out.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
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
    nbformat.validate(notebook)
    after = nbformat.writes(notebook) + "\n"
    if after != before:
        path.write_text(after)
    return after != before


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise every kernel compiles torch anew
    os.environ["TQDM_DISABLE"] = "1"  # a stored progress bar is noise
    for path in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        print(f"{path.name}: {'changed' if execute(path) else 'unchanged'}", flush=True)


if __name__ == "__main__":
    main()
