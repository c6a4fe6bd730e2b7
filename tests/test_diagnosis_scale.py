"""The verdict is free of scale: it depends neither on the size of the loss, nor on the batch, nor on the format."""

import pytest
import torch

from d2lstab import diagnose
from tests.test_diagnosis import SICK, X

pytestmark = pytest.mark.slow

SAME = {
    "a larger loss": (lambda x: x, lambda loss: lambda *a: 1e6 * loss(*a)),
    "a smaller loss": (lambda x: x, lambda loss: lambda *a: 1e-6 * loss(*a)),
    "a sum over the batch": (lambda x: x, lambda loss: lambda *a: 64 * loss(*a)),
    "a batch eight times as large": (lambda x: torch.cat([x] * 8), lambda loss: loss),
    "float64": (lambda x: x.double() if x.is_floating_point() else x, lambda loss: loss),
    "bfloat16": (lambda x: x.bfloat16() if x.is_floating_point() else x, lambda loss: loss),
}


@pytest.mark.parametrize("change", SAME)
@pytest.mark.parametrize("fault", ["symmetric", "dead", "input_scale", "exploding", "vanishing", "chaotic"])
def test_the_verdict_does_not_depend_on_the_scale_of_the_loss_the_batch_or_the_format(fault, change):
    tensors, losses = SAME[change]
    model, inputs, targets, loss, _ = SICK[fault]()
    assert diagnose(model.to(tensors(X).dtype), tensors(inputs), tensors(targets), losses(loss)).verdict == fault
