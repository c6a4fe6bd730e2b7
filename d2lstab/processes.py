"""Many processes as one: an experiment's seeds or cells shared out by rank, and all results gathered in each."""

import os
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from tqdm import tqdm

__all__ = ["process_group"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_PATIENCE = timedelta(days=30)  # one may have far more to do than another; where one dies, torchrun ends them all

_TORCHRUN = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}  # what it tells each process


@dataclass(frozen=True)
class _Group:
    handle: Any  # torch's, of gloo: results travel as CPU tensors
    rank: int
    size: int
    busy: bool = False  # a grid inside a cell is the business of its own process


_GROUP: ContextVar[_Group | None] = ContextVar("group", default=None)


@contextmanager
def process_group() -> Iterator[int]:
    """A context in which the processes of torchrun share experiments out; its value is this process's rank.

    Inside it `depth_sweep`, `network_sweep`, `remedy_matrix` and `trainability_map` compute every n-th seed or cell
    in each of n processes and return all of them, in the order of one process, in every process. All processes make
    the same calls with the same arguments. What else stands in the context each of them does for itself: print and
    save where the rank is 0. An exception in one process is raised in all.

    A script started with plain python is one process of rank 0, and computes everything. A group of torch.distributed
    that the script has joined is used; otherwise the one that torchrun's environment variables describe is joined,
    with gloo, until the process ends. With `torchrun --nproc-per-node 2 grid.py`, grid.py being

        from functools import partial
        import torch
        from d2lstab import digits, process_group, trainability_map

        scales = {"sigma_w": torch.linspace(0.8, 2.2, 8), "sigma_b": torch.linspace(0.05, 0.8, 4)}
        adam = partial(torch.optim.Adam, lr=0.002)
        with process_group() as rank:
            found = trainability_map(torch.tanh, digits(), **scales, depth=15, steps=40, optimizer=adam, seeds=[0])
            if rank == 0:
                print(f"{int((found.accuracy > 0.5).sum())} of {found.accuracy.numel()} networks learned")

    half of the networks are trained in each process, and one line is printed.
    Raises ValueError inside it where the processes do not make the same calls.

    >>> with process_group() as rank:  # in plain python
    ...     rank
    0
    """
    joined, described = dist.is_available() and dist.is_initialized(), os.environ.keys() >= _TORCHRUN
    if _GROUP.get() is not None or not (joined or described):
        yield _rank()
        return
    if not joined:  # and never left: whoever joins twice may find the addresses of the first time
        dist.init_process_group("gloo")
    handle = dist.new_group(backend="gloo", timeout=_PATIENCE)
    token = _GROUP.set(_Group(handle, dist.get_rank(), dist.get_world_size()))
    try:
        yield _rank()
    finally:
        _GROUP.reset(token)
        dist.destroy_process_group(handle)


def shared(work: Callable[[list[Item]], Iterable[Outcome]], items: Iterable[Item]) -> list[Outcome]:
    """What work(items) returns, a result for each item, with the items shared out among the processes.

    work is called with this process's part, if there is one; a result must pickle, its tensors be on the CPU. What
    it raises in one process is raised in all, with the traceback of that process as its cause. Raises RuntimeError
    if the processes share out different things. One process that is interrupted returns the results it has, fewer than
    there are items; in a group the interrupt passes through, as the others would wait.
    """
    items, group = list(items), _GROUP.get()
    if group is None or group.busy:
        return _until_interrupted(work(items))
    part, own_error, results = items[group.rank :: group.size], None, []
    token = _GROUP.set(replace(group, busy=True))
    try:
        results = list(work(part)) if part else []
    except Exception as error:  # noqa: BLE001  whatever it is, the other processes must hear of it
        own_error = error
    finally:
        _GROUP.reset(token)
    outcomes: list[Any] = [None] * group.size
    call = f"{work.__qualname__.partition('.')[0]} of {len(items)}"  # work is a function inside the experiment
    said = (call, results, None if own_error is None else _portable(own_error))
    dist.all_gather_object(outcomes, said, group=group.handle)
    _raise_first(own_error, [outcome[2] for outcome in outcomes])
    calls = [outcome[0] for outcome in outcomes]
    if len(set(calls)) > 1:
        raise RuntimeError(f"the processes share out {', '.join(calls)}\nexpected the same call in each")
    return [outcomes[index % group.size][1][index // group.size] for index in range(len(items))]


def _until_interrupted(work: Iterable[Outcome]) -> list[Outcome]:
    """All results, or those that were there when the user stopped it. With none at all there is nothing to keep."""
    done = []
    try:
        for outcome in work:
            done.append(outcome)  # noqa: PERF402  a list made in one go would be lost
    except KeyboardInterrupt:
        if not done:
            raise
    return done


def bar_hidden(progress: bool) -> bool:
    """Whether a progress bar is to be hidden: unwanted, or not that of rank 0."""
    return not progress or bool(os.environ.get("TQDM_DISABLE")) or _rank() != 0


def progress_bar(
    items: Iterable[Item] | None = None, *, of: str, total: int | None = None, shown: bool = True, after: float = 1
) -> tqdm:
    """tqdm over the items, or up to a total, that is gone when it is done; hidden if unwanted, or not that of rank 0.

    It appears after so many seconds, 1 without a number.
    In a notebook it is text in one output, which is empty in the end: a bar made of widgets would be stored as one
    that cannot be shown again.
    """
    hidden = bar_hidden(shown)
    place = {"file": _Output(), "ncols": 80} if notebook_shell() is not None and not hidden else {}
    return tqdm(items, desc=of, total=total, leave=False, delay=after, disable=hidden, **place)


class _Output:
    """A file for one line of text that is shown as an output of a cell, and changed where it stands."""

    def __init__(self) -> None:
        self._shown: Any = None

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if self._shown is None and line:
            from IPython.display import DisplayHandle

            self._shown = DisplayHandle()
            self._shown.display({"text/plain": line}, raw=True)
        elif self._shown is not None and "\r" in text:
            self._shown.update({"text/plain": line}, raw=True)

    def flush(self) -> None:
        """Nothing waits to be written."""


def notebook_shell() -> Any:
    """The IPython shell of a notebook, or None outside one."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    return shell if shell is not None and hasattr(shell, "kernel") else None


def _rank() -> int:
    group = _GROUP.get()
    return 0 if group is None else group.rank


def _portable(error: Exception) -> tuple[Exception, str]:
    """An exception that other processes can read, and its traceback as text."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        return pickle.loads(pickle.dumps(error)), text
    except Exception:  # noqa: BLE001  exceptions may hold anything, and be made from other arguments than they keep
        return RuntimeError(f"{type(error).__name__}: {error}"), text


def _raise_first(own: Exception | None, portable: list[tuple[Exception, str] | None]) -> None:
    """Raises this process's own exception, or the first of another."""
    if own is not None:
        raise own
    for rank, each in enumerate(portable):
        if each is not None:
            error, text = each
            raise error from RuntimeError(f"raised in process {rank} of {len(portable)}:\n{text}")
