"""Bad input is told what was given and what is expected."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import leaky_relu

from d2lstab import mlp
from d2lstab.arguments import available_device, floating_dtype, is_number, name_of, seed_list, whole_numbers


@pytest.mark.parametrize(
    "bad", [0, -3, 1.5, "7", None, True, float("nan"), torch.ones((), device="meta").long(), torch.ones(2).long()]
)
def test_a_size_that_is_no_whole_number_is_named(bad):
    with pytest.raises(ValueError, match=r"depth=.*\nexpected a whole number of at least 1"):
        whole_numbers(depth=bad)


@pytest.mark.parametrize("huge", [2**31, 10**12, 10**400, 10**4000])
def test_a_size_that_fits_no_computer_is_told_by_its_power_of_ten(huge):
    power = {2**31: 9, 10**12: 12, 10**400: 400, 10**4000: 4000}[huge]
    with pytest.raises(ValueError, match=rf"depth=1e{power} or so\nexpected a size that fits a computer"):
        whole_numbers(depth=huge)


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(1, True), (np.float32(0.5), True), (torch.ones(1, 1), True), (torch.ones(2), False), (True, False), (1j, False)]
    + [(torch.ones((), device="meta"), False), (torch.ones((), dtype=torch.bool), False), ("1", False)],
)
def test_a_number_is_a_real_one_that_can_be_read(value, is_one):
    assert is_number(value) is is_one


def test_whole_numbers_of_other_libraries_are_taken():
    assert whole_numbers(depth=np.int64(3), width=torch.tensor(4)) == (3, 4)


@pytest.mark.parametrize("bad", [[], [1, 1], [-1], ["a"], 0.5])
def test_seeds_that_are_none_or_doubled_or_no_seeds(bad):
    with pytest.raises(ValueError, match="expected"):
        seed_list(bad)


def test_one_seed_may_stand_alone():
    assert seed_list(5) == [5]


@pytest.mark.parametrize("bad", [torch.int64, "float32", "float99", float])
def test_a_dtype_that_is_not_floating(bad):
    with pytest.raises(ValueError, match="expected a floating torch.dtype"):
        floating_dtype(bad)


def test_no_dtype_is_torchs_default():
    assert floating_dtype(None) is torch.get_default_dtype()


@pytest.mark.parametrize("bad", ["cuda:99", "gpu", "xla", 3.5])
def test_a_device_that_is_not_there(bad):
    with pytest.raises(ValueError, match=r"cannot be used here\nexpected one of cpu"):
        available_device(bad)


def test_no_device_is_the_cpu():
    assert available_device(None) == torch.device("cpu")


def test_a_function_is_named_without_its_address():
    assert name_of(torch.tanh) == "tanh"
    assert name_of(partial(leaky_relu, negative_slope=0.2)) == "leaky_relu(negative_slope=0.2)"
    assert name_of(torch.nn.PReLU()) == "PReLU"


def test_what_does_not_fit_a_signature_is_told_by_python_itself():
    with pytest.raises(TypeError, match=r"mlp\(\) missing 2 required positional arguments|missing"):
        mlp()
    assert "d2lstab" not in str(pytest.raises(TypeError, mlp).value)
