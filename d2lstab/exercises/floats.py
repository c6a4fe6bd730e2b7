"""Exercises of chapter 11: what a float can carry."""

from math import exp, log2

import torch

from ..floats import FLOAT_FORMATS, overflow_depth, smallest_loss_scale
from ..products import gaussian_lyapunov_exponents
from .judging import close, exercise


@exercise("11.1")
def _overflow_of_wide_products(answer) -> str | None:
    growth = exp(gaussian_lyapunov_exponents(256)[0])
    hint = "ln of the largest float32, over the top exponent for n = 256."
    mistakes = {
        overflow_depth(exp(gaussian_lyapunov_exponents(4)[0]), torch.float32): "the depth for 4 × 4 matrices. " + hint,
        overflow_depth(growth, torch.float16): "the depth in float16. " + hint,
        overflow_depth(growth, torch.float64): "the depth in float64. " + hint,
        overflow_depth(
            16, torch.float32
        ): "the depth if each factor stretched by √n; the mean of its logarithm is less. " + hint,
    }
    return close(answer, overflow_depth(growth, torch.float32), 0.005, hint, mistakes=mistakes)


@exercise("11.2")
def _loss_scale(answer) -> str | None:
    expected = smallest_loss_scale(3e-9, torch.float16)
    mistakes = {
        log2(expected): "the exponent; the scale is 2 to that power.",
        smallest_loss_scale(3e-9, torch.float16, normal=True): "what lifts it to the smallest *normal* number.",
        expected
        / 2: "enough for a number other than 0, which is then rounded up. Ask for the smallest float16 itself.",
    }
    return close(answer, expected, 0, "The smallest float16 is 2^-24; look for a power of two.", mistakes=mistakes)


@exercise("11.3")
def _closest_format(answer) -> str | None:
    formats = [FLOAT_FORMATS[name] for name in ("bfloat16", "float16", "float8_e5m2")]
    for x in (1e5, 1.001, 3e-6, -3e4, 2e-5, -1e-9, 0.3):
        exact = torch.tensor(x, dtype=torch.float64, device="cpu")
        errors = [abs(float(exact.to(dtype).double()) - x) for dtype in formats]
        said = answer(x, formats)
        if said not in formats or errors[formats.index(said)] > min(errors):
            return f"for {x:g} your function chose {said}, and there is a format that stores it more closely."
    return None
