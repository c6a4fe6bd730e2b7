"""One thread on two cores, for the block alone; and what threads share is for one at a time."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest
import torch
from torch import nn

from d2lstab import diagnose, seeded
from d2lstab.randomness import normal
from d2lstab.threads import one_at_a_time, one_thread_on_two_cores


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


def test_threads_that_diagnose_one_model_find_what_one_finds():
    """They borrow its parameters and the random streams, which are for all threads."""
    layers = [layer for _ in range(12) for layer in (nn.Linear(16, 16), nn.Dropout(0.1), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(16, 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.25)
    inputs, targets = normal(16, 16, generator=seeded(0)), torch.arange(16) % 4
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stream = torch.get_rng_state()
    alone = diagnose(model, inputs, targets)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: diagnose(model, inputs, targets), range(8)))
    assert {each.verdict for each in found} == {alone.verdict}
    assert {each.to_json() for each in found} == {alone.to_json()}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state())


def test_one_thread_goes_on_where_another_has_finished():
    order = []

    def work(name):
        with one_at_a_time():
            order.append(f"{name} begins")
            with one_at_a_time():  # the same thread may enter again
                sleep(0.01)
            order.append(f"{name} ends")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, "ab"))
    assert order[0::2] == [f"{name} begins" for name in (order[0][0], order[2][0])]
    assert [each[0] for each in order[0::2]] == [each[0] for each in order[1::2]]
