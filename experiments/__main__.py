"""Runs experiments: python -m experiments [NAME [ROW ...]]. All without a name; a row is named by its beginning."""

import sys
from importlib import import_module

from experiments.stored import FOLDER

NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in {"__init__", "__main__", "stored"})


def main() -> None:
    name, chosen = (sys.argv[1:] or [None])[0], sys.argv[2:]
    if name not in (None, *NAMES):
        sys.exit(f"no experiment {name}\nexpected one of: {', '.join(NAMES)}")
    for each in [name] if name else NAMES:
        import_module(f"experiments.{each}").main(chosen)


if __name__ == "__main__":
    main()
