"""A sub-pixel network under ICNR starts as nearest-neighbour upsampling, exactly."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from d2lstab import he_normal_, initialize_, lecun_normal_, orthogonal_, seeded
from d2lstab.initializers import icnr_
from d2lstab.networks import upsampler
from d2lstab.randomness import normal
from tests.truth import truth


def within_blocks(pictures: torch.Tensor, upscale: int) -> float:
    """The share of the second moment that varies inside the blocks of upscale × upscale pixels."""
    pictures = pictures.detach()
    blocks = F.pixel_unshuffle(pictures, upscale).unflatten(1, (-1, upscale**2))
    return float((blocks - blocks.mean(2, keepdim=True)).square().mean() / pictures.square().mean())


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
def test_the_shuffled_output_is_the_nearest_neighbour_of_a_convolution(upscale, outputs, inputs):
    conv = nn.utils.skip_init(nn.Conv2d, inputs, outputs * upscale**2, 3, bias=False)
    icnr_(conv.weight, upscale, generator=seeded(0))
    x = normal(2, inputs, 6, 6, generator=seeded(1))
    small = F.conv2d(x, conv.weight[:: upscale**2])
    expected = small.repeat_interleave(upscale, -1).repeat_interleave(upscale, -2)
    torch.testing.assert_close(F.pixel_shuffle(conv(x), upscale), expected, rtol=1e-5, atol=1e-5)


def test_the_inner_initializer_sees_an_ordinary_weight():
    seen = []

    def inner(weight, *, generator):
        seen.append(tuple(weight.shape))
        return lecun_normal_(weight, generator=generator)

    weight = icnr_(torch.empty(18, 5, 3, 3), 3, inner=inner, generator=seeded(0))
    assert seen == [(2, 5, 3, 3)]
    assert len(weight.unique(dim=0)) == 2


def test_each_group_of_a_grouped_convolution_is_upsampled():
    conv = nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=False)
    initialize_(conv, partial(icnr_, upscale=2))
    x = normal(2, 4, 5, 5, generator=seeded(1))
    assert within_blocks(F.pixel_shuffle(conv(x), 2), 2) < 1e-12  # the square of a rounding error
    assert len(conv.weight.unique(dim=0)) == 2  # an own one for each group


@truth("icnr.r2")
def test_checkerboards_of_the_reference_table(row):
    upscale = row["inputs"]["r"]
    x = normal(4, 64, 12, 12, generator=seeded(2))

    def energy(initializer, change=lambda weight: weight):
        weight = change(initializer(torch.empty(64 * upscale**2, 64, 3, 3), generator=seeded(0)))
        return within_blocks(F.pixel_shuffle(F.conv2d(x, weight), upscale), upscale)

    def tiled(weight):
        return weight[:: upscale**2].repeat(upscale**2, 1, 1, 1)

    icnr = partial(icnr_, upscale=upscale)
    assert energy(icnr) == pytest.approx(row["value"]["icnr_checker"], abs=row["tolerance"]["icnr_abs"])
    tolerance = row["tolerance"]["abs"]
    assert energy(he_normal_) == pytest.approx(row["value"]["iid_fraction"], abs=tolerance)
    assert energy(icnr, tiled) == pytest.approx(row["value"]["tile_order_fraction"], abs=tolerance)


def test_a_bias_that_is_not_zero_brings_the_checkerboard_back():
    network = upsampler([1, 8], 2, torch.relu, initializer=he_normal_, expand=partial(icnr_, upscale=2))
    x = normal(2, 1, 8, 8, generator=seeded(0))
    assert within_blocks(network(x), 2) < 1e-12  # the square of a rounding error
    nn.init.uniform_(network.expand.bias, -1, 1, generator=seeded(1))
    assert within_blocks(network(x), 2) > 0.01


@pytest.mark.parametrize(("channels", "upscale"), [([1, 4], 2), ([3, 4, 5], 3), ([2], 2)])
def test_an_upsampler_enlarges_its_pictures(channels, upscale):
    network = upsampler(channels, upscale, torch.relu, initializer=orthogonal_, dtype=torch.float64)
    x = normal(2, channels[0], 5, 6, generator=seeded(0), dtype=torch.float64)
    assert network(x).shape == (2, channels[0], 5 * upscale, 6 * upscale)


def test_an_upsampler_is_its_seed_and_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    first, again, other = (upsampler([1, 4], 2, torch.relu, initializer=he_normal_, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.expand.weight, other.expand.weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: icnr_(torch.empty(6, 3), 2), r"shape \(6, 3\) for upscale=2\nexpected .* divisible by upscale² = 4"),
        (lambda: icnr_(torch.empty(4), 2), r"shape \(4,\)"),
        (lambda: icnr_(torch.empty(4, 3), 0), "upscale=0"),
        (
            lambda: upsampler([], 2, torch.relu, initializer=he_normal_),
            r"channels=\[\]\nexpected at least one, in a list",
        ),
        (lambda: upsampler([1, 4], 1.5, torch.relu, initializer=he_normal_), "upscale=1.5"),
        (lambda: upsampler([1, 4], 2, torch.relu, initializer=he_normal_, kernel_size=2), "kernel_size=2"),
    ],
)
def test_bad_input_is_told_what_is_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
