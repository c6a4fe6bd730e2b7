"""How many threads small tensors get, and who may use what all threads share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TURN = threading.RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """A context that one thread enters while others wait: random streams and somebody's model are for all of them."""
    with _TURN:
        yield


@contextmanager
def one_thread_on_two_cores() -> Iterator[None]:
    """Where torch has two threads at most, the block runs on one; afterwards the number is as it was.

    A second thread makes small tensors a little faster on idle cores, and many times slower on busy ones, where
    each of the two waits for the other. Larger machines keep their threads.
    """
    before = torch.get_num_threads()
    if before == 2:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before == 2:
            torch.set_num_threads(before)
