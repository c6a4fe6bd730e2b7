"""The suite on every processor that this machine can be: `make matrix`, one line for each.

    python tests/matrix.py [NAME ...]     all of them without a name; NAME is the beginning of a line, as avx2 or jitter/0,
                                              or a path: then only what lies there runs

The instruction sets are switched with the variables of ATen, MKL and oneDNN; "jitter" is a processor that is not
here at all (tests/jitter.py). Only chapters and the tests that calculate run.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parent.parent
PROCESSORS = {
    "native": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "default": {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
THREADS = {"1": "1", "2": "2", "unset": ""}  # an empty variable is none to OpenMP
JITTER = range(5)
# What these look at is text, files and pictures.
STRUCTURE = "architecture benchmarks contributing controls docstrings experiments import jitter margins notebooks plotting readme".split()


def variants() -> dict[str, tuple[dict[str, str], list[str]]]:
    """Each line's name, its environment and its options."""
    found = {
        f"{processor}/{threads}": (variables | {"OMP_NUM_THREADS": number}, [])
        for processor, variables in PROCESSORS.items()
        for threads, number in THREADS.items()
    }
    return found | {f"jitter/{seed}": ({"OMP_NUM_THREADS": "1"}, ["--jitter", str(seed)]) for seed in JITTER}


def run(name: str, variables: dict[str, str], options: list[str], where: list[str]) -> bool:
    """Whether all passed; prints the line."""
    inherited = {key: value for key, value in os.environ.items() if key not in PROCESSORS["avx2"]}
    workers = "2" if variables["OMP_NUM_THREADS"] == "1" else "1"  # more threads than cores only wait for each other
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        workers,
        *"--dist loadfile --no-loadscope-reorder --tb=short".split(),
    ]
    command += [*(f"--ignore=tests/test_{name}.py" for name in STRUCTURE), *options, *where]
    begun = monotonic()
    done = subprocess.run(command, cwd=ROOT, env=inherited | variables, text=True, capture_output=True, check=False)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    broken = counts.get("failed", 0) + counts.get("error", 0)
    minutes = (monotonic() - begun) / 60
    print(f"{name:14} {counts.get('passed', 0):5} passed {broken:3} failed {minutes:5.1f} min", flush=True)
    if done.returncode:
        print(
            *re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE) or [done.stdout[-3000:]],
            sep="\n",
            flush=True,
        )
    return done.returncode == 0


def main() -> None:
    names = [name for name in sys.argv[1:] if not Path(name).exists()]
    where = [name for name in sys.argv[1:] if Path(name).exists()]
    chosen = {name: rest for name, rest in variants().items() if not names or name.startswith(tuple(names))}
    if not chosen:
        sys.exit(f"no line begins with {' or '.join(names)}\nexpected one of: {', '.join(variants())}")
    passed = [run(name, *rest, where) for name, rest in chosen.items()]
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
