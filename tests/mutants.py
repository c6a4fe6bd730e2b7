"""Mutation testing: small changes of the package, drawn at random, each of which some test must notice.

    make mutants                                      200 of them, always the same
    make mutants ARGS="--number 20 --seed 1"          others
    make mutants ARGS="--only d2lstab/floats"         of one module
    make mutants ARGS="--after 120"                   the rest of a run that was stopped

cosmic-ray makes them. The tests that bear on a module run in a copy of the repository, the quick ones first, up to the
first that fails; what no test notices is listed with its change. Of mutants that mean the same as what they were made
of, a reason is given in `EQUIVALENT`, and they do not count.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from difflib import unified_diff
from hashlib import blake2b
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).parent.parent
# Of the ways to change an operator the nearest ones: what is far off is noticed by any test that runs the line.
OPERATORS = [
    *"NumberReplacer AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd".split(),
    *"ZeroIterationForLoop RemoveDecorator ExceptionReplacer ReplaceBreakWithContinue".split(),
    *(f"ReplaceComparisonOperator_{each}" for each in "Lt_LtE LtE_Lt Gt_GtE GtE_Gt Eq_NotEq NotEq_Eq Is_IsNot".split()),
    *(f"ReplaceComparisonOperator_{each}" for each in "Lt_Gt Gt_Lt LtE_GtE GtE_LtE IsNot_Is".split()),
    *(
        f"ReplaceBinaryOperator_{each}"
        for each in "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Mul Pow_Mul".split()
    ),
    *(f"ReplaceUnaryOperator_{each}" for each in "USub_UAdd Delete_Not".split()),
]
# The tests that bear on a module, the quick ones first; of several beginnings of its path the longest counts.
_DIAGNOSIS = "thresholds diagnosis_input diagnosis_origin diagnosis_cut diagnosis_chaos diagnosis_expectation \
    diagnosis_attention diagnosis_reported diagnosis_time diagnosis_answers diagnosis_trace diagnosis"
BEARING = {
    "activations": "activations",
    "arguments": "arguments hurried_calls initializers training",
    "containers": "containers diagnosis_answers diagnosis_trace",
    "controls": "controls",
    "coordinates": "coordinates",
    "curvature": "curvature",
    "datasets": "datasets",
    "diagnosis": _DIAGNOSIS,
    "diagnosis/trial": "thresholds diagnosis_input diagnosis_reported diagnosis_trace diagnosis_steps",
    "diagnosis/faults/steps": "thresholds diagnosis_input diagnosis_reported diagnosis_steps",
    "trainability/rehearsal": "thresholds diagnosis_answers diagnosis_cut trainability",
    "trainability/forecast": "thresholds diagnosis_answers diagnosis_cut trainability",
    "trainability/tangent": "thresholds diagnosis_answers diagnosis_cut trainability",
    "floats": "floats",
    "initializers": "initializers upsampling recurrent diagnosis_expectation",
    "initializers/depth": "initializers residual transformer",
    "jacobians": "jacobians",
    "lightning": "lightning",
    "mean_field": "mean_field",
    "monitoring": "thresholds monitoring monitoring_trends monitoring_attention monitoring_export monitoring_nan monitoring_time",
    "networks": "networks recurrent upsampling",
    "networks/convolutional": "convolutional networks",
    "networks/residual": "residual networks",
    "networks/transformer": "transformer networks",
    "plotting": "plotting results activations products recording",
    "processes": "processes",
    "products": "products",
    "propagation": "states propagation",
    "randomness": "randomness datasets networks states diagnosis_trace",
    "recording": "recording diagnosis_attention states diagnosis_time",
    "recording/keras": "keras",
    "recording/modules": "recording keras",
    "recording/recorder": "recording keras diagnosis_attention states diagnosis_time",
    "remedies": "remedies",
    "results": "results plotting products floats",
    "signatures": "hurried_calls arguments networks fuzz",
    "threads": "threads",
    "trainability": "trainability_map",
    "trainability/operations": "trainability diagnosis_answers",
    "training": "stack training movement company",
}
SLOW_TO_IMPORT = (
    "torch torch.utils.flop_counter torchvision matplotlib.pyplot hypothesis sklearn.datasets tqdm.auto".split()
)
# Mutants that mean the same, by the beginning of the line that they make, and why.
EQUIVALENT = {
    "diagnosis/evidence.py: usual = 1 / sqrt(max(1, parameter[ -1].numel()))": (
        "all entries along the first axis have as many numbers"
    ),
    "initializers/recurrent.py: log_sigmoid = -log1p(exp(-forget_bias)) if forget_bias >= 0": (
        "at 0 both formulas are the logarithm of a half"
    ),
    "products.py: for k in range(1, a.shape[+1]):": "the matrices are square",
    "remedies.py: pale = (value < 60) if axes is left else (abs(value) < 8)": "the colour of numbers in a picture",
    "trainability/phase_map.py: generator = seeded( 1001 + number)": "another stream, as good as this one",
    "diagnosis/subject.py: if not targets.is_floating_point() and output.dim() >= 2 and": (
        "of two axes the condition above it says the same, and comes first"
    ),
    "mean_field/quadrature.py: pieces = [_moments(f, piece, panels, _PANELS[ -1])": (
        "begins with the finest panels, to which it would come: as right, and slower"
    ),
    "monitoring/signals.py: ax.set_ylim(seen[0] - 3.5, seen[-1] + 2.5)": "the margin of a picture",
    "propagation/layers.py: _WEIGHTS = 3**25": "how many are held at once changes no result",
    "recording/signals.py: heights = [log10(value) if 0 < (value := getattr(row, name)) <= torch.inf": (
        "a line through infinity is not drawn, nor is one through NaN"
    ),
}


def mutations() -> Iterator[MutationSpec]:
    """Every change that the operators make of the package without its exercises."""
    for path in sorted(Path("d2lstab").rglob("*.py")):
        if "exercises" in path.parts:
            continue
        nodes = list(ast_nodes(get_ast_from_path(path)))
        for name in OPERATORS:
            operator = get_operator(f"core/{name}")()
            places = [place for node in nodes for place in operator.mutation_positions(node)]
            for occurrence, (start, end) in enumerate(places):
                yield MutationSpec(path, f"core/{name}", occurrence, start, end)


def drawn(number: int, seed: int, only: str) -> list[MutationSpec]:
    """Mutations at so many different places, each place as likely as any other, and one of the mutations there.

    The order is that of a hash of the line and the next, so that most stay what they were when the package changes elsewhere.
    """
    order: dict[tuple, tuple[bytes, MutationSpec]] = {}
    for each in mutations():
        if str(each.module_path).startswith(only):
            row, column = each.start_pos
            lines = each.module_path.read_text().splitlines()[row - 1 : row + 1]  # many decorators are alike
            place = blake2b(f"{seed} {each.module_path} {lines} {column}".encode()).digest()
            kind = blake2b(place + f"{each.operator_name} {each.occurrence}".encode()).digest()
            found = order.get((place, row), (kind, each))
            order[place, row] = min(found, (kind, each), key=lambda pair: pair[0])
    return [order[place][1] for place in sorted(order)[:number]]


def tests_of(mutation: MutationSpec) -> list[str]:
    module = mutation.module_path.relative_to("d2lstab").with_suffix("").as_posix()
    names = max((each for each in BEARING if module.startswith(each)), key=len, default=None)
    bearing = BEARING[names].split() if names else ["import", "arguments"]
    if mutation.operator_name == "core/RemoveDecorator":
        bearing += ["hurried_calls"]  # what the decorator of public functions is for
    return [f"tests/test_{each}.py" for each in bearing]


def run(tests: list[str], log: str) -> None:
    """Runs files of tests one after the other, in a process of their own, which ends with pytest's first bad status."""
    import pytest

    options = ["-x", "-q", "-p", "no:nbval", "-p", "no:cacheprovider", "-o", "addopts="]
    options += ["-W", "ignore:Module already imported", "-m", "not long", "-k", "not threshold_that_moves"]
    with open(log, "w") as file, redirect_stdout(file), redirect_stderr(file):
        statuses = (int(pytest.main([*options, each])) for each in tests)
        status = next((each for each in statuses if each), 0)
        file.flush()
    os._exit(status)


def judged(tests: list[str], log: str, limit: float) -> str:
    """How the tests take a change: "killed", "survived", or "killed" by taking too long."""
    for cached in Path("d2lstab").rglob("*.pyc"):  # two versions of a file within a second would be one
        cached.unlink()
    process = get_context("fork").Process(target=run, args=(tests, log))  # what this process has imported is there
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return "killed"
    return "survived" if process.exitcode == 0 else "killed"


def change(before: str, after: str | None) -> list[str]:
    """The lines that a mutation takes away, with -, and those that it makes, with +."""
    lines = unified_diff(before.splitlines(), (after or "").splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def reason(path: Path, lines: list[str]) -> str:
    """Why a mutant means the same; empty where it does not."""
    made = f"{path.relative_to('d2lstab')}: {''.join(lines[-1:]).removeprefix('+').strip()}"
    return next((why for beginning, why in EQUIVALENT.items() if made.startswith(beginning)), "")


def judge_all(mutants: list[MutationSpec], log: str, limit: float, first: int = 1) -> Counter:
    """How many were killed, survived and mean the same; prints each, and what no test noticed."""
    started, counts = perf_counter(), Counter()
    for number, each in enumerate(mutants, start=first):
        with use_mutation(each.module_path, get_operator(each.operator_name)(), each.occurrence) as (before, after):
            lines = change(before, after)
            why = reason(each.module_path, lines)
            fate = "equivalent" if why else judged(tests_of(each), log, limit)
        counts[fate] += 1
        place = f"{each.module_path}:{each.start_pos[0]}"
        print(f"{number:4} {fate:10} {perf_counter() - started:6.0f} s  {place}", flush=True)
        if fate != "killed":
            print(*(f"        {line}" for line in [*lines, why] if line), sep="\n", flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="d2lstab", help="the beginning of the files' path")
    parser.add_argument("--after", type=int, default=0, help="how many of them were judged before")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for the tests of one mutant")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy, log = Path(folder) / "copy", f"{folder}/log"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.ipynb"))
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        os.environ["PYTHONPATH"] = str(copy)  # of the processes that tests start
        for name in SLOW_TO_IMPORT:  # the tests' processes have them at once
            import_module(name)
        mutants = drawn(given.number, given.seed, given.only)[given.after :]
        everything = list(dict.fromkeys(name for each in mutants for name in tests_of(each)))
        if judged(everything, log, 10 * given.limit) != "survived":
            sys.exit("tests fail without any change:\n" + Path(log).read_text()[-3000:])
        counts = judge_all(mutants, log, given.limit, given.after + 1)
    told = ", ".join(f"{count} {fate}" for fate, count in counts.items())
    rate = counts["killed"] / max(1, counts["killed"] + counts["survived"])
    print(f"{told}: {rate:.1%} of those that mean something else were noticed")


if __name__ == "__main__":
    main()
