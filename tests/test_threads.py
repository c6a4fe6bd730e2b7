"""One thread on two cores, for the block alone."""

import pytest
import torch

from d2lstab.threads import one_thread_on_two_cores


@pytest.fixture(autouse=True)
def threads_as_they_were():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("before", "inside"), [(1, 1), (2, 1), (4, 4)])
def test_two_threads_become_one_inside_and_two_again_outside(before, inside):
    torch.set_num_threads(before)
    with one_thread_on_two_cores():
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == before


def test_whatever_is_raised_inside():
    torch.set_num_threads(2)
    with pytest.raises(RuntimeError), one_thread_on_two_cores():
        raise RuntimeError
    assert torch.get_num_threads() == 2
