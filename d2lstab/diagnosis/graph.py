"""The graph that autograd builds: what stands behind a tensor."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor


def nodes_behind(tensors: Iterable[Tensor]) -> Iterator[Any]:
    """Each operation once that these were made by, and those that added up to the gradients of leaves."""
    seen: set[int] = set()
    waiting = [each.grad_fn for each in tensors]
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        waiting += [each for each, _ in node.next_functions]


def of_one_entry(node: Any) -> bool:
    """Whether it is a softmax along an axis of one entry, which is 1 whatever it is given."""
    if not node.name().startswith(("SoftmaxBackward", "LogSoftmaxBackward")):
        return False
    # Not what is saved of the result: a checkpoint would calculate it again for us.
    shape, axis = node._input_metadata[0].shape, node._saved_dim
    if axis >= len(shape):
        axis -= 2**64  # C++ keeps it without a sign
    return len(shape) > 0 and shape[axis] == 1
