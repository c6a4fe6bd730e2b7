"""What the package costs, in one table: python -m benchmarks [--only speed] [--store]."""

import argparse
import json
from pathlib import Path

import torch

from benchmarks.ratios import Row, machine, table

STORED = Path(__file__).with_name("ratios.json")
PARTS = ("speed", "recording", "monitoring")


def measured(parts: list[str]) -> tuple[dict[str, dict[str, Row | str]], dict[str, float]]:
    """The groups of rows of these parts, and the limits that are promised for some."""
    groups, limits = {}, {}
    if "speed" in parts:
        from benchmarks import speed

        groups, limits = speed.rows(), dict(speed.LIMITS)
    watchers = [part for part in parts if part != "speed"]
    if watchers:
        from benchmarks import monitoring, recording

        with recording.peers():
            for part in watchers:
                module = {"recording": recording, "monitoring": monitoring}[part]
                groups |= module.rows()
                limits |= module.LIMITS
    return groups, limits


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="the parts to measure")
    parser.add_argument(
        "--store", action="store_true", help=f"write the ratios into {STORED.name}, which the site shows"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    groups, limits = measured(chosen.only)
    print(table(groups, limits))
    if chosen.store:
        facts = {"machine": machine(), "parts": chosen.only, "limits": limits, "groups": groups}
        STORED.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
