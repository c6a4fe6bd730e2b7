"""A seed means the same numbers everywhere, and the global stream is left alone."""

import pytest
import torch

from d2lstab import seeded
from d2lstab.randomness import normal


def test_a_seed_means_the_same_numbers():
    assert torch.equal(normal(5, generator=seeded(3)), normal(5, generator=seeded(3)))
    assert not torch.equal(normal(5, generator=seeded(3)), normal(5, generator=seeded(4)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_dtype_gets_the_same_numbers(dtype):
    drawn = normal(1000, generator=seeded(0), dtype=dtype)
    assert drawn.dtype == dtype
    assert torch.equal(drawn, normal(1000, generator=seeded(0)).to(dtype))


def test_the_global_stream_is_left_alone():
    before = torch.get_rng_state()
    normal(10, generator=seeded(0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("bad", [-1, 0.5, None, "x"])
def test_a_bad_seed_is_named(bad):
    with pytest.raises(ValueError, match="seed="):
        seeded(bad)


def test_no_sizes_are_one_number():
    assert normal(generator=seeded(0)).shape == ()
