"""Which printed numbers of the chapters would another processor round to the other side: `make margins`.

    python tests/margins.py [--on NAME ...] [NOTEBOOK ...]     on USUAL without a name

`make matrix` finds a number that falls on the other side of an edge of rounding once it has fallen. Here each chapter
runs on a few processors, every printed number is kept as it was before it was rounded, and those are told whose distance
from the nearest edge is no larger than the spread between the processors: the next one may print another digit.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "MARGINS"  # of the environment: the file that a kernel writes its numbers to
USUAL = ["native/1", "default/1", "jitter/0", "jitter/1"]


class Printed(NamedTuple):
    """A number, the text that it became, and the code cell that printed it, counted from 0."""

    cell: int
    value: float
    text: str


def edge_distance(value: float, text: str) -> float:
    """How far the value is from where its text would change: half a unit of the text's last digit, at most."""
    quantum = _last_digit(text)
    return abs((value / quantum) % 1 - 0.5) * quantum


def near_edges(runs: Sequence[Sequence[Printed]]) -> list[list[Printed]]:
    """One list per number that another processor may print otherwise: what it was on those that were tried.

    Raises ValueError if the runs did not print the same count of numbers.
    """
    if len({len(run) for run in runs}) != 1:
        raise ValueError(f"runs of {[len(run) for run in runs]} numbers\nexpected the same numbers on every processor")
    found = []
    for same in zip(*runs):
        values = [printed.value for printed in same]
        if not all(map(isfinite, values)):
            continue
        spread = max(values) - min(values)
        if spread and min(edge_distance(printed.value, printed.text) for printed in same) <= spread:
            found.append(list(same))
    return found


def _last_digit(text: str) -> float:
    """The worth of one unit in the last printed digit: 0.01 for 3.14, 1e-9 for 1.2e-8, 0.001 for 12.3%."""
    digits, _, exponent = text.strip().rstrip("%").partition("e")
    decimals = len(digits.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals - 2 * text.endswith("%"))


def listen() -> None:
    """Inside a kernel: writes down every number that `claim` or a formatted string prints from now on."""
    from IPython import get_ipython

    from d2lstab import results

    shell, path, rounded = get_ipython(), os.environ[VARIABLE], results._number
    begun: list[None] = []  # one entry for each cell
    shell.events.register("pre_run_cell", lambda info: begun.append(None))

    def note(value, text: str) -> str:
        if re.fullmatch(r"\s*[-+]?\d[\d.]*(e[-+]?\d+)?%?\s*", text):
            with Path(path).open("a") as file:
                file.write(json.dumps([len(begun) - 1, float(value), text]) + "\n")
        return text

    def kept(value: float, digits: float | None) -> str:
        text = rounded(value, digits)
        return text if digits is None else note(value, text)  # beside a bound alone the bound is what is compared

    results._number = kept
    shell.user_ns["_formatted"] = lambda value, form: note(value, format(value, form))
    shell.ast_transformers.append(_Formatted())


class _Formatted(ast.NodeTransformer):
    """Turns {value:format} into a call that writes the value down."""

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.FormattedValue:
        self.generic_visit(node)
        if node.format_spec is None or node.conversion != -1:
            return node
        call = ast.Call(ast.Name("_formatted", ast.Load()), [node.value, node.format_spec], [])
        return ast.fix_missing_locations(ast.copy_location(ast.FormattedValue(call, -1), node))


def printed_on(name: str, notebook: Path, folder: Path) -> list[Printed]:
    """The numbers that a chapter prints on one of the processors of tests/matrix.py."""
    from tests.matrix import variants

    variables, options = variants()[name]
    path = folder / f"{notebook.stem}-{name.replace('/', '-')}.jsonl"
    path.unlink(missing_ok=True)
    path.touch()
    inherited = {key: value for key, value in os.environ.items() if "ISA" not in key}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", *options, str(notebook)]
    environment = inherited | variables | {VARIABLE: str(path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
    for line in re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE):
        print(name, line, flush=True)
    return [Printed(*json.loads(line)) for line in path.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", nargs="+", default=USUAL, metavar="NAME", help="lines of tests/matrix.py")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    arguments = parser.parse_args()
    notebooks = [path.resolve() for path in arguments.notebooks] or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    folder = ROOT / ".cache" / "margins"
    folder.mkdir(parents=True, exist_ok=True)

    def tell(notebook: Path) -> None:
        runs = [printed_on(name, notebook, folder) for name in arguments.on]
        for numbers in near_edges(runs):
            values = ", ".join(f"{printed.value:.6g}" for printed in numbers)
            print(f"{notebook.name[:2]} code cell {numbers[0].cell}: {numbers[0].text.strip()} of {values}", flush=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(tell, notebooks))  # a list, so that errors are raised


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
