"""Tensors are found and exchanged in whatever holds them, and what is given stays as it is."""

import logging
import threading
import weakref
from collections import OrderedDict, UserDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn.utils.rnn import pack_sequence

from d2lstab.containers import each_tensor, is_plain, tensors_in
from tests.architectures import Output

ONE, TWO = torch.tensor([1.0, 2.0]), torch.tensor([3.0])
Pair = namedtuple("Pair", "first second")


@dataclass(frozen=True)
class Frozen:
    first: Any
    second: Any


class Plain:
    def __init__(self, first, second):
        self.first, self.name, self.second = first, "plain", second


class Entries(UserDict):
    pass


HOLDERS = {
    "list": [ONE, TWO],
    "tuple": (ONE, 3, TWO),
    "namedtuple": Pair(ONE, TWO),
    "dict": {"a": ONE, "b": [TWO], "c": None},
    "ordered": OrderedDict(a=ONE, b=TWO),
    "default": defaultdict(list, a=ONE, b=TWO),
    "of a user": Entries(a=ONE, b=TWO),
    "refusing": Output(a=ONE, b=TWO),
    "deque": deque([ONE, TWO], maxlen=5),
    "dataclass": Frozen(ONE, {"x": (TWO,)}),
    "plain": Plain(ONE, [TWO]),
    "namespace": Plain(ONE, Plain(TWO, "x")),
    "deep": [{"a": Pair((ONE,), Frozen(0, deque([TWO])))}],
}


@pytest.mark.parametrize("name", HOLDERS)
def test_tensors_are_found_in_order_and_doubled_in_a_copy(name):
    given = HOLDERS[name]
    assert [id(each) for each in tensors_in(given)] == [id(ONE), id(TWO)]
    made = each_tensor(lambda each: 2 * each, given)
    assert type(made) is type(given)
    assert [each.tolist() for each in tensors_in(made)] == [[2.0, 4.0], [6.0]]
    assert [id(each) for each in tensors_in(given)] == [id(ONE), id(TWO)]


def test_entries_that_are_attributes_too_agree_and_the_rest_is_kept():
    made = each_tensor(lambda each: -each, Output(a=ONE, b=3))
    assert made.a is made["a"]
    assert made["b"] == made.b == 3
    assert each_tensor(torch.neg, HOLDERS["plain"]).name == "plain"
    assert each_tensor(torch.neg, HOLDERS["default"]).default_factory is list
    assert each_tensor(torch.neg, HOLDERS["deque"]).maxlen == 5


def test_packed_sequences_and_distributions_stay_what_they_are():
    packed = each_tensor(Tensor.clone, pack_sequence([torch.ones(3, 2), torch.ones(1, 2)]))
    assert packed.batch_sizes.tolist() == [2, 1, 1]
    made = each_tensor(lambda each: each + 1, Independent(Normal(torch.zeros(2), torch.ones(2)), 1))
    assert made.mean.tolist() == [1.0, 1.0]
    assert made.base_dist.scale.tolist() == [2.0, 2.0]


def test_what_holds_no_tensor_is_given_back_as_it_is():
    for thing in (
        "text",
        b"bytes",
        3,
        None,
        [1, 2],
        {"a": "b"},
        SimpleNamespace(a=1),
        nn.Linear(2, 2),
        torch.float32,
        print,
    ):
        assert each_tensor(torch.neg, thing) is thing


def test_what_leads_back_to_itself_ends():
    circle: list[Any] = [ONE]
    circle.append(circle)
    assert tensors_in(circle) == [ONE]
    plain = Plain(ONE, None)
    plain.second = plain
    assert len(tensors_in(plain)) == 1


def test_what_works_on_its_own_is_no_container():
    plain = Plain(ONE, TWO)
    for thing in (logging.getLogger("x"), threading.Lock(), threading.Event(), weakref.proxy(plain)):
        assert not is_plain(thing)
        assert tensors_in(thing) == []
    assert is_plain(plain)
