"""Ratios of times within one run, and the table that shows them."""

import gc
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import comb
from pathlib import Path
from statistics import median

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Row = tuple[float, float, float]  # the median of the ratios, and from where to where it is known
Rows = Mapping[str, Row | str]  # a string says why there is no ratio


def seconds(work: Callable[[], None]) -> float:
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def ratio(one: Callable[[], None], other: Callable[[], None], repeats: int, *, per: float = 1.0) -> Row:
    """The `middle` of one / other, times `per`; the two take turns, after one round unmeasured.

    What was made before is left aside by the garbage collector: it costs the more, the more was imported for others.
    """
    one(), other()
    gc.collect()
    gc.freeze()
    ratios = [per * seconds(one) / seconds(other) for _ in range(repeats)]
    gc.unfreeze()
    return middle(ratios)


def middle(ratios: Sequence[float]) -> Row:
    """The median, and two of the ratios between which that of endless repeats lies, 19 times in 20.

    They are as far from both ends as tossed coins allow: each ratio is above that median with probability 1/2.
    Fewer than six ratios cannot tell; then they are the least and the largest.
    """
    ordered, count = sorted(ratios), len(ratios)
    fewer_heads = accumulate(comb(count, heads) for heads in range(count // 2))
    k = max((k for k, ways in enumerate(fewer_heads) if 40 * ways <= 2**count), default=0)
    return median(ordered), ordered[k], ordered[-1 - k]


def table(groups: Mapping[str, Rows], limits: Mapping[str, float]) -> str:
    """One line per row, below a line that says against what the rows of a group are measured.

    A ratio is the median of several; in brackets stands from where to where it is known.
    """
    lines = []
    for against, rows in groups.items():
        lines += ["", f"{against:72} {'ratio':>6} {'(known to)':15} limit"]
        for name, row in rows.items():
            told = f"{row:>6}" if isinstance(row, str) else f"{row[0]:6.2f} {f'({row[1]:.2f}–{row[2]:.2f})':15}"
            lines.append(f"  {name:70} {told} {limits.get(name, '')}".rstrip())
    return "\n".join(lines)


def machine() -> str:
    """The processor, the device of the networks, and the versions, in one line."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    processor = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "no GPU"
    threads = torch.get_num_threads()
    return (
        f"{processor}, {os.cpu_count()} cores, {threads} of them used; {device}; {platform.system()}; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
